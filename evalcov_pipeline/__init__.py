"""Eval coverage as a production metric: does the eval suite still test what users do?"""

__version__ = "0.2.0"

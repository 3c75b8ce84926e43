"""Eval coverage as a production metric: does the eval suite still test what users do?"""

"""A seeded simulator of a support assistant's traffic, its eval suite and its people."""

from evalcov_pipeline.simulator.sample import SampleFiles, write_sample

__all__ = ["SampleFiles", "write_sample"]

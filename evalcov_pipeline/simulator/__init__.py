"""A seeded simulator of a support assistant's traffic, its eval suite and its people."""

from evalcov_pipeline.simulator.sample import Sample, write_sample

__all__ = ["Sample", "write_sample"]

"""The score of a week: reads sample, suite and results, writes the coverage tables."""

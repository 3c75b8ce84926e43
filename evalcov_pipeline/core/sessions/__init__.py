"""Whole sessions: features, the space they are compared in, sequences, paths, compounding."""

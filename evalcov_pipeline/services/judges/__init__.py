"""Judges over the tables: calibration, admission to scores, which labels to ask for."""

"""Judges held against people: confusion matrix, metrics, bias, calibration, admission."""

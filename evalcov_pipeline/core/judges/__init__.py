"""Judges held against people: confusion matrix, bias, corrected rates, certificates, top-up."""

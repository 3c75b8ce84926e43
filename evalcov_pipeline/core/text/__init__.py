"""Texts: one spelling and one name (hash) per text, hedging, and redaction of personal data."""

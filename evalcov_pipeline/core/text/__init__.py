"""Texts: one spelling and one name (hash) per text, and redaction of personal data."""

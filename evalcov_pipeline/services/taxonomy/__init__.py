"""Frozen taxonomies: fitted, kept, and applied to every text of traffic and suite."""

"""Judges over the tables: what was judged, certificates, which labels to ask for next."""

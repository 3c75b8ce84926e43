"""Whole sessions of a week: features, clusters, and how well the suite covers them."""

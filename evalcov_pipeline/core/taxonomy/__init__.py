"""Clusters of queries: found, named, frozen as one rule of assignment, matched across refits."""

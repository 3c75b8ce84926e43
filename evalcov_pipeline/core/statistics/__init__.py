"""The kernel that all domains share: shares with intervals, PPS draws, similarity of vectors."""

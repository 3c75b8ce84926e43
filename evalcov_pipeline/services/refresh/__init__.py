"""A refresh of the suite: planned from the score, drawn from traffic, queued for people."""

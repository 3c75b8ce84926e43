"""What a suite can tell apart: discrimination, flakiness, the CI suite and its gate."""

"""How well a suite covers traffic: clusters, divergence, local gaps, pass rate, a week's score."""

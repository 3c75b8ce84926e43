"""How well a suite covers traffic: clusters, divergence, local gaps, verdict, a week's score."""

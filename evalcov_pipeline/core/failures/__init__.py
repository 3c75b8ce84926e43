"""Signs of failure: signals with their thresholds, the weekly batch, the quarterly audit."""

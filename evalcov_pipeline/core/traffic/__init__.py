"""Production traffic: turns folded from spans, their order, feedback, weeks, sampled sessions."""

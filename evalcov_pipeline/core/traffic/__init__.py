"""Production traffic: spans folded into turns, weeks, and the sample of whole sessions."""

"""Labels suggested by a chat completions API."""

"""Labels suggested by a chat completions API: the client, and the prompt with its rules."""

"""Traffic out of the lake: the weekly sample, turns, conversations, texts, their vectors."""

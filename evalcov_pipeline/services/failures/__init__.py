"""Signs of failure: a week's signals, its batch for people, the quarterly audit."""

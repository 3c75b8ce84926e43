"""What the results say about each case, and the CI suite chosen by it."""

"""What people's labels on a task come to, and which labels may be suggested."""

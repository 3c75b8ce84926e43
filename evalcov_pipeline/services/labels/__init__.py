"""The annotation queue: tasks, what people say about them, and how that joins the suite."""

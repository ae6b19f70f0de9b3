"""What stands behind the hooks of a task: their defaults, and how they are called."""

"""Tasks of any framework: named arrays that a task trains itself. Its trainer does without torch."""

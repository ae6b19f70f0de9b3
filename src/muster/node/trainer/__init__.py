"""The child process that trains: parent side, messages, work. Only `child_work` imports torch."""

"""The process that answers requests with a task's model; shares only files and SQLite with the daemon."""

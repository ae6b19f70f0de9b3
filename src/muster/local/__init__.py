"""A node's own samples of a task in use: SQLite, one file a task, never sent anywhere.

`local_set.LocalSet` is what all use: the serving process adds answers, people add labels, the daemon counts,
the trainer child reads what a job trains on.  Each opens the file for itself.
"""

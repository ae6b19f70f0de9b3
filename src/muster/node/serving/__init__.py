"""The daemon's side of serving: which tasks are served, and that their servers run."""

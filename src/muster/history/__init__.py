"""Commits, counted sets, heads and merges. Knows nothing but the records."""

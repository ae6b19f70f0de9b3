"""Fetching: what is missing of which blob, and what is asked of whom. Knows no event loop and no link."""

"""One file for each group of `muster` commands."""

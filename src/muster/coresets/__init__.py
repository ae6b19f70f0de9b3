"""Small summaries of a node's data that stand in for it (to come). Knows no network."""

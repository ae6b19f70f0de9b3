"""Small summaries of a node's data that stand in for it. Knows no network, no clock and no torch."""

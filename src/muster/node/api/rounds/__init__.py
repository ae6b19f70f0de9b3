"""The rounds of a job: what they are, how a node finds them, and how a reader elsewhere follows them."""

"""Which of a model's tensors travel between the nodes: their kinds, the fingerprint, where a job begins."""

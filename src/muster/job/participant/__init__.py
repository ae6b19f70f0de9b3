"""A participant of a job: it offers, trains what a plan asks and keeps its updates.

Knows no socket and no torch.
"""

"""The coordinator of a job: offers in, rounds planned, updates aggregated, commits written.

Knows no socket and no torch.
"""

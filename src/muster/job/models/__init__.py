"""The parameters behind a job's commits: getting, keeping, aggregating and forgetting them.

Knows no socket and no torch.
"""

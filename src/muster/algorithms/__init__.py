"""Pure numpy: aggregation, merging, contributions, splits, rates.

Knows no torch, network, disk or clock.
"""

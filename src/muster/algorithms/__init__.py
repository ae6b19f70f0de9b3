"""Pure numpy: aggregation, server step, merging, contributions, splits, learning rate, smaller models.

An algorithm is `init` / `apply` over one state of plain arrays.  Knows no torch, network, disk or clock.
"""

"""Smaller models as plain data: which channels a model has, which are kept, and the arithmetic that follows.

Structured pruning by groups of channels that depend on each other: Fang et al., "DepGraph: Towards Any
Structural Pruning", CVPR 2023, arXiv 2301.12900.
"""

"""The answer to `prune`: values, sent as JSON; ids are hex."""

from __future__ import annotations

import msgspec


class SizeView(msgspec.Struct, frozen=True):
    """A model's size and figures."""

    width: float  # the fraction of its task's channels
    parameters: int
    bytes: int
    examples: int  # that the figures were measured on; 0: none
    figures: dict[str, float] = {}  # by metric


class PruneView(msgspec.Struct, frozen=True):
    """A job that tunes a pruned model, and what the pruning alone did."""

    job: str
    commit: str  # that was pruned
    common: bool  # measured on the task's evaluation set; else on what the asked node holds out of its data
    before: SizeView
    pruned: SizeView  # before any tuning

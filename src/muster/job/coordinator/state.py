"""What the parts of a node's coordinator share: whether it coordinates, and since when it has its head."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class CoordinatorState:
    """Written by `loop.Coordinator` alone; the evaluation and the rounds read it."""

    head_since_s: float  # loop time
    head_id: bytes = b""
    acting: bool = False  # this node coordinates the job
    blocked: bool = False  # the disk takes nothing: somebody else has to coordinate

"""The 24 records of one changed field that once killed a job, a node or its voice for good."""

from __future__ import annotations

import math
from typing import Any

from poisoned import Homes
from tables import models

from muster.protocol.ids import NodeId
from muster.protocol.records import Commit, Record, Update
from muster.simulation.malformed import changed

HARMFUL: tuple[tuple[str, Any], ...] = (
    *(("commit.round", v) for v in (-1, 2**64 - 1, 2**63 - 1, -(2**63))),
    *(("commit.folded.incarnation", v) for v in (2**64 - 1, -1)),
    *(("commit.folded.sequence", v) for v in (0, -1, 2**64 - 1)),
    ("commit.joined", (bytes(31),)),
    ("commit.joined", (bytes(32), bytes(32))),
    ("commit.digest", bytes(32)),
    ("commit.folded.sequence", -(2**63)),
    ("commit.folded.steps", 2**64 - 1),
    ("commit.folded.examples", 2**64 - 1),
    *(("commit.costs.size_bytes", v) for v in (-(2**63), 2**64 - 1)),
    *(("commit.costs.millijoules", v) for v in (2**64 - 1, -(2**63))),
    *(("commit.age_s", v) for v in (math.nan, math.inf)),
    *(("update.steps", v) for v in (0, -(2**63), -1)),
    ("update.payload.size_bytes", 2**64 - 1),
)


def harmful(fleet: Homes, path: str, value: Any) -> tuple[NodeId, Record]:
    """The record, and the node that signs it."""
    kind, *fields = path.split(".")
    found = [(n, r) for n, r in models(fleet) if kind == r.KIND]
    author, record = found[1] if path == "update.payload.size_bytes" else found[0]
    assert isinstance(record, Commit | Update)
    return author, changed(record, fields, value)

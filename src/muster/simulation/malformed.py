"""Records that no node must take, and junk: what a faulty or hostile member may send."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from muster.protocol.records import Commit, Record, Update

MOST = 2**64 - 1
LEAST = -(2**63)
# Each did lasting harm while records were kept as they came.
HARM: tuple[tuple[str, Any], ...] = (
    ("commit.round", -1), ("commit.round", MOST), ("commit.folded.incarnation", MOST),
    ("commit.joined", (b"",)),
    ("commit.folded.sequence", LEAST), ("commit.folded.steps", MOST), ("commit.folded.examples", MOST),
    ("commit.costs.size_bytes", LEAST), ("commit.costs.millijoules", MOST), ("commit.digest", bytes(31)),
    ("commit.age_s", math.nan), ("commit.age_s", math.inf), ("update.steps", 0), ("update.steps", LEAST),
    ("update.payload.size_bytes", MOST),
)  # fmt: skip


def malformed(rng: random.Random, known: Sequence[Record]) -> Record | None:
    """One of these records with a field that cannot be; None if there is none to begin with."""
    path, value = rng.choice(HARM)
    kind, *fields = path.split(".")
    whole = Commit if kind == "commit" else Update
    found = [r for r in known if isinstance(r, whole) and (not isinstance(r, Commit) or r.costs)]
    return changed(found[-1], fields, value) if found else None


def changed(struct: Any, fields: Sequence[str], value: Any) -> Any:
    """The struct with another value in the field that `fields` lead to; of a table, in its last row."""
    name, *rest = fields
    if not rest:
        return replace(struct, **{name: value})
    inner = getattr(struct, name)
    if isinstance(inner, tuple):
        return replace(struct, **{name: (*inner[:-1], changed(inner[-1], rest, value))})
    return replace(struct, **{name: changed(inner, rest, value)})

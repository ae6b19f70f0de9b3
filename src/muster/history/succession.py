"""What a commit must have in common with its parent: it counts what its parent counts and more, and no
counter goes back.

All honest commits do (the simulation holds that).  What the parent's record alone shows is checked before a
node keeps a commit, if it has the parent by then; what follows from the history before (`changes_fault`),
before the commit becomes a point of the graph.  A commit that fails is no point, whoever keeps its record, so
that all nodes see the same graph.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from muster.history.counted import Counted
from muster.history.state import keys_of
from muster.protocol.ids import NodeId
from muster.protocol.records import Commit

STRUCTURE_BYTES = 8  # of a shape, that say of which structure it is


@dataclass(frozen=True)
class Before:
    """What a commit has to follow: its parent, a commit or a merge; None: it is not known.

    `shape` is a model's as in `Commit`, b"" where it has all channels.
    """

    round: int
    age_s: float
    params_bytes: int | None
    shape: bytes | None

    @classmethod
    def of(cls, parent: Commit) -> Before:
        """What a commit's children have to follow, as far as the commit itself says it."""
        return cls(parent.round, parent.age_s, parent.params_bytes, parent.shape or None)


def succession_fault(commit: Commit, before: Before) -> str | None:
    """Why a commit cannot follow its parent, in one sentence, or None. Both are valid by themselves."""
    step = commit.round - before.round
    if step not in (0, 1) or (commit.folded and step != 1):
        return f"round {commit.round} does not follow round {before.round}"
    if commit.age_s < before.age_s:
        return "the job is younger than at its parent"
    return _shape_fault(commit, before)


def changes_fault(commit: Commit, roster: tuple[NodeId, ...], counted: Counted) -> str | None:
    """Why what a commit changes does not fit the history before it, in one sentence, or None.

    `roster` and `counted` are its parent's; of a first commit there are none.
    """
    if any(key in counted for key in keys_of(commit)):
        return "it counts an update twice"
    if not commit.joined and not roster:
        return "nobody is on its roster"
    known = set(roster)
    if any(node in known for node in commit.joined):
        return "a node joins that is on the roster"
    known.update(commit.joined)
    if not {f.node for f in commit.folded} <= known:
        return "it counts an update of a node that is not on the roster"
    if not {s.node for s in commit.spent} <= known:
        return "a node that is not on the roster has spent something"
    return _places_fault(commit, (*roster, *commit.joined) if commit.joined else roster)


def _places_fault(commit: Commit, roster: tuple[NodeId, ...]) -> str | None:
    """Places in the roster, which is the one behind the commit."""
    named = {place for s in commit.stand_ins for place in s.data}
    if max((*commit.missed, *named), default=-1) >= len(roster):
        return "it names a place behind the end of the roster"
    trained = {s.place for s in commit.stand_ins}
    own: Set[NodeId] = {f.node for place, f in enumerate(commit.folded) if place not in trained}
    if any(roster[place] in own for place in named):
        return "an update stands in for a node whose own is counted"
    return None


def _shape_fault(commit: Commit, before: Before) -> str | None:
    """Pruning is a commit of its own: it counts nothing, and its model follows from its parent's."""
    known, size_bytes = before.params_bytes, commit.params_bytes
    if not commit.shape or commit.shape == before.shape:
        if known is not None and size_bytes != known:
            return f"its model has {size_bytes} bytes, its parent's {known}"
        return None
    if before.shape is None:
        return None
    if commit.folded or commit.discarded or commit.delta is not None or commit.round != before.round:
        return "it prunes the model and does something else, too"
    if not within(commit.shape, before.shape):
        return "it keeps a channel that its parent has not"
    return f"its model has {size_bytes} bytes, its parent's {known}" if known and size_bytes > known else None


def within(shape: bytes, other: bytes) -> bool:
    """Whether one shape keeps none but the other's channels: both are of one structure, which is at the start
    of both, and have a bit for each channel, or are b"" for all of them."""
    if not shape or not other:
        return not other
    same = len(shape) == len(other) and shape[:STRUCTURE_BYTES] == other[:STRUCTURE_BYTES]
    return same and all(a & ~b == 0 for a, b in zip(shape, other, strict=True))

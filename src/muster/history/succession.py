"""What a commit must have in common with its parent: it counts what its parent counts and more, and no
counter goes back.

All honest commits do (the simulation holds that).  A node checks it when both are known: before it keeps the
commit if it has the parent by then, and in any case before the commit becomes a point of the graph.  A commit
that fails is no point, whoever keeps its record, so that all nodes see the same graph.
"""

from __future__ import annotations

from dataclasses import dataclass

from muster.history.counted import Counted, Key
from muster.protocol.ids import NodeId
from muster.protocol.parts import Spent
from muster.protocol.records import Commit

STRUCTURE_BYTES = 8  # of a shape, that say of which structure it is


@dataclass(frozen=True)
class Before:
    """What a commit has to follow: its parent, a commit or a merge; None: it is not known.

    `shape` is a model's as in `Commit`, b"" where it has all channels.
    """

    round: int
    counted: Counted
    roster: tuple[NodeId, ...]
    spent: tuple[Spent, ...]
    age_s: float
    params_bytes: int | None
    shape: bytes | None

    @classmethod
    def of(cls, parent: Commit) -> Before:
        """What a commit's children have to follow, as far as the commit itself says it."""
        return cls(
            parent.round, Counted.from_ranges(parent.counted), parent.roster, parent.spent, parent.age_s,
            parent.params_bytes, parent.shape or None,
        )  # fmt: skip


def succession_fault(commit: Commit, before: Before) -> str | None:
    """Why a commit cannot follow its parent, in one sentence, or None. Both are valid by themselves."""
    step = commit.round - before.round
    if step not in (0, 1) or (commit.folded and step != 1):
        return f"round {commit.round} does not follow round {before.round}"
    new = [Key(f.node, f.incarnation, f.sequence) for f in commit.folded]
    new += [Key(d.node, d.incarnation, d.sequence) for d in commit.discarded]
    if len(set(new)) != len(new) or any(key in before.counted for key in new):
        return "it counts an update twice"
    if Counted.from_ranges(commit.counted) != before.counted.plus(new):
        return "what it counts is not what its parent counts and what it folds and discards"
    if commit.roster[: len(before.roster)] != before.roster:
        return "its roster does not go on with its parent's"
    if commit.age_s < before.age_s:
        return "the job is younger than at its parent"
    if (wrong := _shape_fault(commit, before)) is not None:
        return wrong
    now = {s.node: s for s in commit.spent}
    for old in before.spent:
        new_one = now.get(old.node)
        if new_one is None or any(
            a < b
            for a, b in (
                (new_one.steps, old.steps),
                (new_one.examples, old.examples),
                (new_one.bytes, old.bytes),
                (new_one.joules, old.joules),
            )
        ):
            return "a node has spent less than at its parent"
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

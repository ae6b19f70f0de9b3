"""What a commit must have in common with its parent: it counts what its parent counts and more, and no
counter goes back.

All honest commits do (the simulation holds that).  A node checks it when both are known: before it keeps the
commit if it has the parent by then, and in any case before the commit becomes a point of the graph.  A commit
that fails is no point, whoever keeps its record, so that all nodes see the same graph.
"""

from __future__ import annotations

from dataclasses import dataclass

from muster.history.counted import Counted, Key
from muster.protocol.records import Commit, NodeId, Spent


@dataclass(frozen=True)
class Before:
    """What a commit has to follow: its parent, a commit or a merge. `params_bytes`: None where not known."""

    round: int
    counted: Counted
    roster: tuple[NodeId, ...]
    spent: tuple[Spent, ...]
    age_s: float
    params_bytes: int | None

    @classmethod
    def of(cls, parent: Commit) -> Before:
        """What a commit's children have to follow."""
        return cls(
            parent.round, Counted.from_ranges(parent.counted), parent.roster, parent.spent, parent.age_s,
            parent.params_bytes,
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
    if before.params_bytes is not None and commit.params_bytes != before.params_bytes:
        return f"its model has {commit.params_bytes} bytes, its parent's {before.params_bytes}"
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

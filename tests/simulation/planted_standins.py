"""Planted bugs of stand-ins and shared samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from planting import Patch, bug

from muster.history import graph
from muster.history.credit import credits
from muster.job.coordinator import stand_ins
from muster.job.models import folding
from muster.job.participant.update_writer import UpdateWriter
from muster.job.sharing.pool import SharedPool
from muster.job.uncounted import KnownUpdate
from muster.protocol.ids import NodeId
from muster.protocol.parts import Folded
from muster.protocol.records import Commit, Merge


@bug("a stand-in is counted beside its node's own update")
def counted_beside() -> list[Patch]:
    def counts_for(updates: Sequence[KnownUpdate], helps: Any) -> list[tuple[NodeId, ...]]:
        return [u.record.data or (u.key.node,) for u in updates]

    return [(folding, "counts_for", counts_for)]


@bug("a stand-in weighs by the samples of who trained it")
def weight_of_the_trainer() -> list[Patch]:
    def samples_of(
        updates: Sequence[KnownUpdate], nodes: Any, own: Callable[[NodeId], int], shared: Any
    ) -> list[float]:
        return [float(own(u.key.node)) for u in updates]

    return [(folding, "samples_of", samples_of)]


@bug("a coordinator forgets the stand-ins that it planned")
def plan_without_stand_ins() -> list[Patch]:
    return [(stand_ins, "kept", lambda plan, before: ())]


@bug("a stand-in is trained again and again until the round is over")
def trained_again() -> list[Patch]:
    real = UpdateWriter.worked_on

    def worked_on(self: UpdateWriter, base: bytes, data: tuple[NodeId, ...] = ()) -> bool:
        return not data and real(self, base)

    return [(UpdateWriter, "worked_on", worked_on)]


@bug("a merge weighs what a coordinator trained for others as its own work")
def credited_to_the_trainer() -> list[Patch]:
    def to_author(record: Commit | Merge) -> list[tuple[Folded, tuple[NodeId, ...]]]:
        return [(folded, (folded.node,)) for folded, _ in credits(record)]

    return [(graph, "credits", to_author)]


@bug("shared samples stay on a disk after the end of their job")
def samples_stay() -> list[Patch]:
    return [(SharedPool, "gone", lambda self: set())]


@bug("each helper of a node weighs as much as that node")
def helpers_weigh_each() -> list[Patch]:
    def samples_of(updates: Any, nodes: Sequence[Sequence[NodeId]], own: Any, shared: Any) -> list[float]:
        return [float(sum(own(n) for n in named)) for named in nodes]

    return [(folding, "samples_of", samples_of)]

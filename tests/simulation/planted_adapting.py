"""Planted bugs of jobs for nodes with a like need, and of what nodes say of needs and uses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from planting import Patch, bug

from muster.job import view
from muster.job.adapting.ending import NOT_CONCERNED
from muster.job.participant import answer
from muster.job.participant.answer import Answer
from muster.job.participant.passing import Passing
from muster.network.sync.newest import NewestRecords
from muster.protocol.ids import NodeId


@bug("a node takes part in a job that adapts a model although its need is another, or none")
def joins_without_a_like_need() -> list[Patch]:
    return [(answer, "why_not_concerned", lambda job, need, *, takes_part: None)]


@bug("a node finds out once only whether a job concerns it")
def concerned_once() -> list[Patch]:
    real, first = Answer._not_concerned, dict[tuple[int, bytes], Any]()

    def not_concerned(self: Answer) -> str | None:
        key = id(self._context), self._view.id
        if key not in first:
            first[key] = real(self)
        return first[key]

    return [(Answer, "_not_concerned", not_concerned)]


@bug("a job goes on although nobody needs it any more")
def needless_jobs_go_on() -> list[Patch]:
    return [(view, "unneeded", lambda asker, offered, refusals: False)]


@bug("the first one whose need is met ends the job for all")
def the_first_one_ends_it() -> list[Patch]:
    def unneeded(asker: NodeId, offered: Collection[NodeId], refusals: Mapping[NodeId, str]) -> bool:
        return any(refusals.get(n, "").startswith(NOT_CONCERNED) for n in (asker, *offered))

    return [(view, "unneeded", unneeded)]


@bug("a node that trains all the time does not look whether its need is met")
def trains_on_although_met() -> list[Patch]:
    return [(Passing, "over_for_now", lambda self: False)]


@bug("what a node said before of its need stays beside what it says now")
def older_needs_stay() -> list[Patch]:
    real = NewestRecords.replaces

    def replaces(self: NewestRecords, *args: Any) -> list[bytes] | None:
        return None if real(self, *args) is None else []

    return [(NewestRecords, "replaces", replaces)]

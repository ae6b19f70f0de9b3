"""Planted bugs of what a node gives to others."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from planting import Patch, bug

from muster.job.owner import allowance
from muster.job.owner.day import DayUse
from muster.job.participant.answer import Answer
from muster.job.participant.loop import Participant
from muster.job.session import TrainerSession


@bug("a node forgets at each start what it gave to others on the same day")
def given_forgotten() -> list[Patch]:
    return [(allowance, "resumed", lambda use, clock: replace(use, bytes=0, joules=0.0))]


@bug("a clock that is set to another day begins another count")
def clock_believed() -> list[Patch]:
    def looked(use: DayUse, clock: Any, measured_s: float) -> DayUse:
        if clock.day != use.day:
            return DayUse(clock.day, clock.wall_s)
        return replace(use, seen_s=clock.wall_s, ran_s=use.ran_s + measured_s)

    return [(allowance, "looked", looked)]


@bug("a node whose bytes are given says so, and goes on training")
def goes_on() -> list[Patch]:
    async def until(self: TrainerSession, participant: Participant, pulse: Any) -> None:
        if (reason := self._answer.given_enough()) is not None and reason != self._answer.refused:
            self._answer.refuse(reason)
        await self._context.changes.wait(5.0)
        await until(self, participant, pulse)

    def next_plan(self: Participant) -> Any:
        own, self._own = self._own, True
        try:
            return kept(self)
        finally:
            self._own = own

    kept = Participant._next
    return [(TrainerSession, "_until_given_enough", until), (Participant, "_next", next_plan)]


@bug("a node that has given its bytes takes part no more, on no day")
def never_again() -> list[Patch]:
    kept = Answer.not_now

    def not_now(self: Answer) -> str | None:
        return self.refused or kept(self)

    return [(Answer, "not_now", not_now)]

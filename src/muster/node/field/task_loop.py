"""Does what is due for one served task, one step after the other: look, decide, act, look again.

Everything that a step leaves is in files and records, so that the next look finds it whatever happened since.
A kill at any point costs at most the step in progress.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from muster.errors import MusterError
from muster.network.supervisor import Pulse, describe
from muster.node.field import checking, telling
from muster.node.field.among import Among
from muster.node.field.decide import about, decide
from muster.node.field.looking import Found
from muster.node.field.situation import Fault, Judged, LikeJob, OwnNeed, Situation
from muster.node.field.steps import Ask, Check, EndNeed, Return, Step, TellNeed, TellUse, Wait
from muster.node.field.task_field import TaskField
from muster.protocol.ids import JobId
from muster.protocol.records import Need
from muster.storage.store import StorageError

LOOK_S = 5.0  # between two looks when nothing else happens: labels come into a file that tells nobody
QUIET_S = 0.5  # after a look, whatever changes
FAULT_S, FAULT_MAX_S = 10.0, 600.0  # before what failed is tried again; doubled each time
FAULTS_MAX = 16  # candidates with one
HOPELESS = ("task_fault", "bad_data", "fingerprint")  # a candidate that fails so is not tried again
RETURNED_MAX = 64
FOREIGN = "another program put the model in use there: muster use puts one into use that nodes can adapt"


class Asker(Protocol):
    """Asks for adapt jobs within what the node's owner allows."""

    def no_ask(self) -> str:
        """Why none may be asked for now, as a sentence; "": one may."""

    async def ask(self, field: TaskField, found: Found, *, by_hand: bool, unless: Callable[[], str]) -> JobId:
        """Ask for a job by this node's need, from the model in use; `by_hand`: whatever the budget says.
        `unless()`: why not any more, looked at last; "": it is asked for.

        Raises MusterError, ChildProcessError, StorageError."""


@dataclass(frozen=True)
class Seen:
    """What the last look found, and what followed. `need`: this node's newest."""

    found: Found
    situation: Situation
    step: Step
    need: Need | None


class TaskLoop:
    """The steps of a task. People's requests use the same `TaskField`, at any time."""

    def __init__(self, field: TaskField, asker: Asker) -> None:
        self.field, self.asker = field, asker
        self.among = Among(field.core, field.task)
        self._faults: dict[str, tuple[Fault, float]] = {}  # with the pause before the next try
        self._said = ""
        self.seen: Seen | None = None

    async def run(self, pulse: Pulse) -> None:
        """Go round for ever."""
        while True:
            pulse.renew(None)  # a step may train, or fetch a model
            step = await self.turn()
            if isinstance(step, Wait):
                wait_s = LOOK_S if step.until_s is None else min(LOOK_S, step.until_s - self.field.clock())
                pulse.renew(max(QUIET_S, wait_s))
                await self.field.core.context.changes.wait(max(QUIET_S, wait_s))
            await asyncio.sleep(QUIET_S)

    async def turn(self) -> Step:
        """Look, and do one step."""
        seen = await self.look()
        self._say_wait(seen.step)
        if not isinstance(seen.step, Wait):
            await self._try(seen)
        return seen.step

    async def look(self) -> Seen:
        """What is due as things are now; a damaged file is waited for."""
        try:
            self.seen = await self._decided(await self.field.look())
        except MusterError as error:
            nothing = Situation(self.field.clock(), self.field.core.node)
            self.seen = Seen(Found(), nothing, Wait(error.sentence), None)
        return self.seen

    async def _decided(self, found: Found) -> Seen:
        field, among, memory = self.field, self.among, self.field.memory
        need = among.own_need()
        returned = among.returned(need) | set(memory.returned)
        if returned != set(memory.returned):
            memory.returned = [*returned][-RETURNED_MAX:]
            field.remember()
        is_open = need is not None and not need.over
        situation = Situation(
            now_s=field.clock(),
            node=field.core.node,
            settings=field.settings,
            in_use=found.in_use,
            use_said=found.in_use is None
            or memory.said_use[:2] == (found.in_use.version, found.in_use.since_s),
            said_live=memory.said_use[2],
            labels=found.labels,
            live=found.live,
            sketches=found.sketches,
            need=_own(need, memory.need_s),
            like=among.like(need) if need is not None and is_open else (),
            jobs=await self._jobs(need, found) if need is not None else (),
            returned=frozenset(returned),
            judged=tuple(memory.judged),
            no_ask=self.asker.no_ask(),
            foreign="" if found.in_use is None or found.made is not None else FOREIGN,
            faults=tuple(fault for fault, _ in self._faults.values()),
        )
        return Seen(found, situation, decide(situation), need)

    async def _jobs(self, need: Need, found: Found) -> tuple[LikeJob, ...]:
        """Those that may meet the need; of one that is met, those that may have met it better since."""
        used = found.in_use
        if need.over and (used is None or used.reason != "adopted"):
            return ()
        return await self.among.jobs(need, used.commit if used is not None else b"")

    async def _try(self, seen: Seen) -> None:
        """Do a step; what keeps it from being done is remembered and said."""
        what = about(seen.step)
        try:
            await self._act(seen)
        except MusterError as error:
            if isinstance(seen.step, Check) and error.code in HOPELESS:
                self._judge(checking.hopeless(seen.found, seen.step, error.sentence), seen.step.job)
            else:
                self._failed(what, error.sentence)
        except (ChildProcessError, StorageError) as error:
            self._failed(what, describe(error))
        else:
            self._faults.pop(what, None)

    async def _act(self, seen: Seen) -> None:
        field, found, step = self.field, seen.found, seen.step
        if isinstance(step, TellUse):
            telling.tell_use(field, found)
        elif isinstance(step, TellNeed):
            await self.tell_need(found)
        elif isinstance(step, EndNeed):
            assert seen.need is not None
            telling.end_need(field, seen.need)
            self.among.forget()
        elif isinstance(step, Ask):
            job = await self.ask(found, by_hand=False)
            field.say("asks for a job" + (": trains alone" if step.alone else ""), job=job)
        elif isinstance(step, Return):
            live = found.live
            await field.go_back(
                "returned",
                f"since it was replaced it is right on {live.only_former} labels that the model in use has "
                f"wrong, and wrong on {live.only_used} that this has right",
            )
        elif isinstance(step, Check):
            self._judge(await checking.check(field, found, step), b"")

    async def ask(self, found: Found, *, by_hand: bool) -> JobId:
        """Ask for a job, unless another node has asked while this one got ready. Raises as `Asker.ask`."""

        need = self.among.own_need()
        assert need is not None
        before = self.among.asked(need)

        def asked() -> str:
            others = [asker for job, asker in self.among.asked(need).items() if job not in before]
            return f"{others[0]} asked first" if others else ""

        return await self.asker.ask(self.field, found, by_hand=by_hand, unless=asked)

    async def tell_need(self, found: Found) -> None:
        """Publish that the model in use fails here, with a sketch of conditions as they are now."""
        assert found.served is not None
        sketch = await self.field.workshop.sketch(self.field.task, found.served)
        if not sketch.sketch:
            raise MusterError(
                "no_result",
                "the samples since conditions changed are too few to find others by: wait for more",
            )
        telling.tell_need(self.field, found, sketch)
        labels = found.labels
        self.field.say(f"the model in use fails here: {labels.wrong} of {labels.judged} labels are wrong")
        self.among.forget()

    def _judge(self, judged: Judged, job: JobId) -> None:
        self.field.memory.judge(judged)
        self.field.remember()
        if job:
            self.field.say(judged.said, job=job)

    def _failed(self, what: str, said: str) -> None:
        before = self._faults.pop(what, None)
        pause_s = FAULT_S if before is None else min(FAULT_MAX_S, 2 * before[1])
        self._faults[what] = Fault(what, said, self.field.clock() + pause_s), pause_s
        while len(self._faults) > FAULTS_MAX:
            del self._faults[next(iter(self._faults))]

    def _say_wait(self, step: Step) -> None:
        """What is waited for, once for each kind of sentence: figures in it change all the time."""
        kind = _DIGITS.sub("#", step.why) if isinstance(step, Wait) else self._said
        if kind != self._said and kind:
            assert isinstance(step, Wait)
            self.field.say(step.why)
        self._said = kind


_DIGITS = re.compile(r"[0-9]+")


def _own(need: Need | None, published_s: float) -> OwnNeed | None:
    if need is None:
        return None
    return OwnNeed(need.epoch, need.number, published_s, need.over, need.sketch, need.sketch_samples)

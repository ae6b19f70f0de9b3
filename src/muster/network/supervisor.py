"""Every task that goes on in the background belongs to the supervisor: what dies comes back, and is said.

A loop that raises is started again after a pause.  Repeated faults make the pause longer, and nothing else:
it is tried for ever, each time with a sentence, with its trace the first time.  A loop says by its `Pulse`
when it went round and when it means to again, so that one that hangs is seen; `health` has it all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

from muster.errors import MusterError
from muster.storage.store import StorageError

PAUSE_FIRST_S, PAUSE_MAX_S = 1.0, 60.0  # before a loop starts again; doubled with each fault ...
FAULTS_PERIOD_S = 600.0  # ... of this time
FAULTS_MANY, PAUSE_MANY_S = 15, 300.0  # more in that time, and it is tried as rarely as this
LATE_S = 15.0  # that a loop may be behind its period: a busy machine is no fault
TRACES_MAX = 256  # kinds of faults of which the trace was given
EXPECTED = (StorageError, MusterError)  # they say what is wrong; a trace would say no more

Report = Callable[[str, bytes], None]  # a sentence, and the job that it is about (b"": none)


class Pulse:
    """When a loop went round, and when it means to again."""

    def __init__(self) -> None:
        self.round_s = self.next_s = None  # type: float | None

    def renew(self, within_s: float | None) -> None:
        """The loop goes round now, and again within so many seconds; None: when what it waits for comes."""
        now_s = asyncio.get_running_loop().time()
        self.round_s, self.next_s = now_s, None if within_s is None else now_s + within_s


@dataclass(frozen=True)
class LoopHealth:
    """How one loop is."""

    name: str
    state: Literal["well", "late", "restarting"]
    round_s: float | None  # loop time at which it went round last; None: it has no rounds
    period_s: float | None  # in which it meant to go round again; None: when what it waits for comes
    faults: int  # in the last `FAULTS_PERIOD_S`
    why: str  # the last fault; "" when there was none in that time

    def well(self) -> bool:
        """Whether there is nothing to say of it."""
        return self.state == "well" and not self.faults

    def sentence(self) -> str:
        """How it is, for people."""
        said = f"{self.name}: {self.state}"
        return f"{said}, {self.faults} faults in ten minutes, the last: {self.why}" if self.faults else said


@dataclass(eq=False)
class KeptLoop:
    """A loop that is started again when it fails."""

    name: str
    job: bytes
    pulse: Pulse = field(default_factory=Pulse)
    faults: deque[float] = field(default_factory=lambda: deque(maxlen=2 * FAULTS_MANY))  # loop times
    why: str = ""
    pausing: bool = False
    task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def recent_faults(self, now_s: float) -> int:
        return sum(at_s > now_s - FAULTS_PERIOD_S for at_s in self.faults)

    def health(self, now_s: float) -> LoopHealth:
        round_s, next_s = self.pulse.round_s, self.pulse.next_s
        period_s = next_s - round_s if next_s is not None and round_s is not None else None
        late = next_s is not None and now_s > next_s + LATE_S
        faults = self.recent_faults(now_s)
        state: Literal["well", "late", "restarting"] = (
            "restarting" if self.pausing else "late" if late else "well"
        )
        return LoopHealth(self.name, state, round_s, period_s, faults, self.why if faults else "")


def pause_s(faults: int) -> float:
    """Seconds before a loop is started again after so many faults in `FAULTS_PERIOD_S`."""
    if faults > FAULTS_MANY:
        return PAUSE_MANY_S
    return min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(faults - 1, 10))


class Supervisor:
    """Owns the background tasks of one node. `report` gets a sentence for each fault."""

    def __init__(self, report: Report = lambda sentence, job: None) -> None:
        self._report = report
        self._loops: dict[KeptLoop, None] = {}
        self._single: dict[asyncio.Task[None], None] = {}
        self._traced: dict[tuple[str, str], None] = {}
        self._closed = False

    def keep(
        self,
        name: str,
        work: Callable[[Pulse], Coroutine[Any, Any, None]],
        *,
        job: bytes = b"",
        on_fault: Callable[[Exception], None] = lambda error: None,
    ) -> KeptLoop:
        """Run `work` until it returns or is cancelled; start it again when it fails.

        `on_fault(error)` is called at each fault, before the pause.
        """
        loop = KeptLoop(name, job)
        self._loops[loop] = None
        loop.task = asyncio.get_running_loop().create_task(self._run(loop, work, on_fault))
        loop.task.add_done_callback(lambda _: self._loops.pop(loop, None))
        return loop

    def part(
        self, name: str, work: Callable[[Pulse], Coroutine[Any, Any, None]], *, job: bytes = b""
    ) -> asyncio.Task[None]:
        """Run a part of a loop, whose health is seen by itself. Its faults are its owner's, who awaits it."""
        loop = KeptLoop(name, job)
        self._loops[loop] = None
        task = loop.task = asyncio.get_running_loop().create_task(work(loop.pulse))
        task.add_done_callback(lambda _: self._loops.pop(loop, None))
        return task

    def once(
        self, name: str, work: Coroutine[Any, Any, None], *, on_fault: Callable[[], None] = lambda: None
    ) -> asyncio.Task[None]:
        """Run one piece of work; a fault is said, and `on_fault` clears up after it."""
        task = asyncio.get_running_loop().create_task(self._run_once(name, work, on_fault))
        self._single[task] = None
        task.add_done_callback(lambda done: self._single.pop(done, None))
        return task

    def fault(
        self, name: str, error: Exception, *, job: bytes = b"", then: str = "", first_only: bool = False
    ) -> None:
        """Say that something failed, with its trace if it is the first of its kind.

        `first_only`: of what is tried all the time, that one only.
        """
        sentence, kind = f"{name} failed{then}: {describe(error)}", (name, describe(error))
        known = kind in self._traced
        self._traced.pop(kind, None)
        self._traced[kind] = None  # as the newest one
        if len(self._traced) > TRACES_MAX:
            del self._traced[next(iter(self._traced))]
        if not (known and first_only):
            self._report(sentence, job)
        if known or isinstance(error, EXPECTED):
            return
        asyncio.get_running_loop().call_exception_handler({"message": sentence, "exception": error})

    def health(self) -> list[LoopHealth]:
        """How all loops are, in the order in which they began."""
        now_s = asyncio.get_running_loop().time()
        return [loop.health(now_s) for loop in self._loops]

    def ending(self) -> None:
        """The node ends: from now on nothing is started again."""
        self._closed = True

    async def close(self) -> None:
        """End what is left."""
        self._closed = True
        tasks = [loop.task for loop in self._loops if loop.task is not None] + list(self._single)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(
        self,
        loop: KeptLoop,
        work: Callable[[Pulse], Coroutine[Any, Any, None]],
        on_fault: Callable[[Exception], None],
    ) -> None:
        while True:
            try:
                return await work(loop.pulse)
            except asyncio.CancelledError as cancelled:
                if self._closed or not _strayed(cancelled):
                    raise
                error: Exception = RuntimeError("something that it waited for was cancelled")
            except Exception as raised:
                if self._closed:
                    raise
                error = raised
            now_s = asyncio.get_running_loop().time()
            loop.faults.append(now_s)
            loop.why, loop.pausing = describe(error), True
            again_s = pause_s(loop.recent_faults(now_s))
            self.fault(loop.name, error, job=loop.job, then=f" and starts again in {again_s:g} s")
            on_fault(error)
            await asyncio.sleep(again_s)
            loop.pausing = False

    async def _run_once(
        self, name: str, work: Coroutine[Any, Any, None], on_fault: Callable[[], None]
    ) -> None:
        try:
            await work
        except Exception as error:
            if self._closed:
                return
            self.fault(name, error)
            on_fault()


def _strayed(cancelled: asyncio.CancelledError) -> bool:
    """Whether a task was ended by the cancellation of something else, and not by its own."""
    task = asyncio.current_task()
    return type(cancelled) is asyncio.CancelledError and task is not None and not task.cancelling()


def describe(error: Exception) -> str:
    """A fault in short, on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, EXPECTED):
        return text
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__

"""The parts of one task's server put together, and what happens to an answer after it was given."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from muster import __version__
from muster.errors import MusterError
from muster.local.form import Form, form_of
from muster.local.inbox import Inbox
from muster.serving.http.bodies import Bodies
from muster.serving.in_use import InUse
from muster.serving.judging import LOOK_S, Judge
from muster.serving.models import ENTROPY, Loaded
from muster.serving.oip.codec import Request
from muster.serving.oip.tensors import DTYPES
from muster.serving.paths import folder_of, local_set_of
from muster.serving.report import Figures, ServerReport, memory_mb, read_report, start_of, write_report
from muster.serving.runner import Runner
from muster.serving.samples import Samples, answer_of
from muster.serving.settings import ServeConfig, settings_hash
from muster.serving.watch import Watch

REPORT_S = 1.0
AGAIN_S = 5.0  # after which a loop that failed begins again


class Server:
    """Everything behind the routes of `app.build`."""

    def __init__(
        self,
        home: Path,
        task: str,
        config: ServeConfig,
        say: Callable[[str], None],
        url: str = "",
        by_hand: bool = False,
    ) -> None:
        self.task, self.config, self.url, self._by_hand = task, config, url, by_hand
        self.folder = folder_of(home, task)
        self.figures, self.watch, self.runner = Figures(), Watch(), Runner()
        self.bodies = Bodies(round(config.body_mb * 1e6))
        self.samples = Samples(local_set_of(home, task), config, say)
        self.in_use = InUse(self.folder, config.threads, say, self._swapped)
        self._judge = Judge(self.folder, config.threads)
        self._say = say
        self._said: dict[str, str] = {}  # the last fault of each loop
        self._began_t = time.time()
        self._start = start_of(os.getpid()) or 0
        self._tasks: set[asyncio.Task[None]] = set()
        before = read_report(self.folder)
        self._watch_before = before.watch if before is not None else {}

    async def start(self) -> None:
        """Load the model in use, and begin what goes on beside the requests."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self.in_use.look()
        for name, work in (
            ("looking at the pointer", self.in_use.follow),
            ("keeping samples", self.samples.keep),
            ("judging labels", self._judging),
            ("taking in the inbox", self._taking_in),
            ("reporting", self._reporting),
        ):
            self._begin(self._kept(name, work))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.runner.close()
        await self.samples.close()
        write_report(self.folder, msgspec.structs.replace(self.report(), pid=0))

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _kept(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """A loop that fails is said and begins again; one that returns is done. Requests are answered."""
        while True:
            try:
                return await work()
            except Exception as error:
                sentence = (
                    error.sentence if isinstance(error, MusterError) else f"{type(error).__name__}: {error}"
                )
                if sentence != self._said.get(name):
                    self._say(f"{name} failed and begins again: {sentence}")
                self._said[name] = sentence
                await asyncio.sleep(AGAIN_S)

    # ---- after an answer -----------------------------------------------------------------------------

    def observe(self, loaded: Loaded, request: Request, id_: str, outputs: dict[str, NDArray[Any]]) -> None:
        """Take note of an answer that was sent."""
        kept = None
        one = len(request.feeds) == 1  # samples of several tensors are not kept: no task's model takes them
        # Remembered only with an id of the client's: to hold on to all costs 6 % of a small request.
        if one and (request.id or not self.samples.takes_none(time.time())):
            answer = answer_of(loaded, next(iter(request.feeds.values())), outputs)
            kept = self.samples.see(id_, answer, labels_may_come=bool(request.id))
        if loaded is not self.in_use.loaded:  # the detector watches another model by now
            return
        entropy = outputs[ENTROPY] if loaded.classifies else None
        if (alarm := self.watch.see(entropy, kept)) is not None:
            self._say(f"conditions changed: {alarm.what}; labels are wanted")
            self._begin(self._alarm(alarm.z, alarm.what))

    async def _alarm(self, z: float, what: str) -> None:
        try:
            await self.samples.alarm(z, what)
        except MusterError as error:
            self._say(f"the alarm is not kept: {error.sentence}")

    def _swapped(self, loaded: Loaded) -> None:
        if self.in_use.loaded is not None:
            self.figures.swaps += 1
        self.watch.swap(loaded)
        self.watch.take_up(self._watch_before)
        self._watch_before = {}

    # ---- beside the requests -------------------------------------------------------------------------

    async def _judging(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            loaded, served = self.in_use.loaded, self.in_use.served
            if loaded is not None and served is not None:
                look = partial(self._judge.look, loaded=loaded, served=served)
                self.figures.judged += await self.samples.call(look)

    async def _taking_in(self) -> None:
        """What people and programs lay into the inbox becomes labelled samples, while a model is in use."""
        if self.config.inbox is None:
            return
        inbox, more = Inbox(self.config.inbox), False
        while True:
            await asyncio.sleep(0 if more else LOOK_S)
            loaded = self.in_use.loaded
            form = _form(loaded) if loaded is not None else None
            if form is None:
                more = False
                continue
            taken = await self.samples.call(partial(inbox.look, form=form))
            more = taken.more
            for sentence in taken.refused:
                self._say(f"inbox: {sentence}")

    async def _reporting(self) -> None:
        while True:
            self.figures.measure_rate()
            report = self.report()
            await asyncio.to_thread(write_report, self.folder, report)
            await asyncio.sleep(REPORT_S)

    def report(self) -> ServerReport:
        """The content of server.json now."""
        figures, served, loaded = self.figures, self.in_use.served, self.in_use.loaded
        p50_ms, p99_ms = figures.percentiles_ms()
        return ServerReport(
            task=self.task,
            pid=os.getpid(),
            start=self._start,
            muster=__version__,
            settings=settings_hash(self.config),
            by_hand=self._by_hand,
            url=self.url,
            port=int(self.url.rpartition(":")[2].rstrip("/") or 0),
            began_t=self._began_t,
            written_t=time.time(),
            version=loaded.version if loaded is not None else "",
            since_t=served.since if served is not None else 0.0,
            former=served.former.version if served is not None and served.former is not None else "",
            requests=figures.requests,
            failures=figures.failures,
            refused=figures.refused,
            rejected=figures.rejected,
            rps=figures.rps,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            swaps=figures.swaps,
            alarms=self.watch.alarms,
            alarm_t=self.watch.alarm_t or None,
            alarm_what=self.watch.alarm_what,
            noticing=self.watch.by,
            kept=self.samples.kept,
            keeping=self.samples.fault,
            judged=figures.judged,
            memory_mb=memory_mb(),
            fault=self.in_use.fault,
            watch=self.watch.state(),
        )


def _form(loaded: Loaded) -> Form | None:
    """What a model says of its samples, else what its only input says; None: it has several."""
    said = form_of(loaded.metadata)
    if said is not None or len(loaded.inputs) != 1:
        return said
    [spec] = loaded.inputs
    return Form(DTYPES[spec.datatype].name, tuple(spec.shape[1:]), loaded.classes)

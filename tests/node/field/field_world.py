"""Nodes in virtual time that serve a task: real pointers, local sets, records and jobs; models are texts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from muster.errors import MusterError
from muster.local.limits import Limits
from muster.local.local_set import LocalSet, path_of
from muster.local.rows import Answered
from muster.node.api.job_requests import open_job
from muster.node.core import Core
from muster.node.field.field import Field
from muster.node.field.gates import Compared
from muster.node.field.looking import Found
from muster.node.field.memory import Made
from muster.node.field.situation import Settings
from muster.node.field.steps import Wait
from muster.node.field.task_field import TaskField
from muster.node.field.workshop import Candidate, Sketch
from muster.protocol.ids import CommitId, JobId, short
from muster.protocol.parts import CLASSES, Recipe, StopRule
from muster.protocol.records import Job
from muster.serving import pointer
from muster.serving.paths import folder_of
from muster.serving.pointer import Served
from muster.simulation.trainers.linear import TASK, facts_of, initial_blob

sys.path.insert(0, str(Path(__file__).parents[2] / "job"))
from small_field import LAYOUT, SmallField

T0 = 1_700_000_000.0
FINGERPRINT = facts_of(LAYOUT, 50, True).fingerprint
ROTATED = np.full(49, 1.0, "<f2").tobytes()  # what a sketch of rotated digits may be
INVERTED = np.full(49, -1.0, "<f2").tobytes()


def clock() -> float:
    return T0 + asyncio.get_running_loop().time()


class PretendWorkshop:
    """Models are texts; how two of them compare is in `outcomes`, by what the candidate is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.sketch_of = ROTATED
        self.outcomes: dict[str, Compared] = {}
        self.usually = Compared(20, 18, 6, 12, 0)
        self.fails: MusterError | None = None
        self.made: list[str] = []  # every candidate
        self.compared = 0

    def of_commit(self, task: str, commit: CommitId) -> contextlib.AbstractAsyncContextManager[Candidate]:
        return self._made(short(commit), Made(FINGERPRINT, commit, b"j" * 32))

    def of_file(self, task: str, path: Path) -> contextlib.AbstractAsyncContextManager[Candidate]:
        return self._made(path.stem, Made(FINGERPRINT, accuracy=0.98))

    def fine_tuned(self, task: str, commit: CommitId) -> contextlib.AbstractAsyncContextManager[Candidate]:
        return self._made(f"{short(commit)}-own", Made(FINGERPRINT, job=b"j" * 32))

    @contextlib.asynccontextmanager
    async def _made(self, version: str, made: Made) -> AsyncIterator[Candidate]:
        self.made.append(version)
        if self.fails is not None:
            raise self.fails
        file, sketch, parameters = (self.folder / f"{version}{s}" for s in (".onnx", ".sketch.onnx", ".st"))
        for path in (file, sketch, parameters):
            path.write_text(f"{path.name}\n")
        await asyncio.sleep(1.0)
        yield Candidate(
            version, made, file, sketch, parameters, hashlib.sha256(file.read_bytes()).hexdigest()
        )

    async def compare(self, task: str, candidate: Candidate, used: Served) -> Compared:
        self.compared += 1
        await asyncio.sleep(1.0)
        return self.outcomes.get(candidate.version, self.usually)

    async def sketch(self, task: str, used: Served) -> Sketch:
        return Sketch(self.sketch_of, 100)


class PretendAsker:
    """Asks for a short job for nodes that are alike."""

    def __init__(self, core: Core) -> None:
        self.core, self.asked, self.why = core, list[JobId](), ""
        self.fails: MusterError | None = None
        self.takes_s, self.rounds = 0.0, 2

    def no_ask(self) -> str:
        return self.why

    async def ask(self, field: TaskField, found: Found, *, by_hand: bool, unless: Callable[[], str]) -> JobId:
        await asyncio.sleep(self.takes_s)
        if why := unless():
            raise MusterError("refused", why)
        need = self.core.field.need(self.core.node, TASK)
        assert need is not None
        if self.fails is not None:
            raise self.fails
        recipe = Recipe(0.1, 10, 4, 0, codec="dense32", down_codec="dense32")
        stop = StopRule(rounds=self.rounds)
        nonce = bytes([len(self.asked)]) + self.core.node[:7]
        job = Job(TASK, FINGERPRINT, recipe, stop, 1, 5.0, nonce, CLASSES, like=need.sketch, replay=10)
        self.asked.append(open_job(self.core, job, self.core.store.put_blob(initial_blob(LAYOUT))))
        return self.asked[-1]


class Server:
    """One node: its home, its field, and what is asked and labelled there."""

    def __init__(self, core: Core, home: Path, settings: Settings) -> None:
        self.core, self.home, self.settings = core, home, settings
        self.shop, self.asker = PretendWorkshop(home / "scratch"), PretendAsker(core)
        self.field = Field(core, self.shop, self.asker, home, lambda _: settings, clock)
        self._label = 0

    async def first(self) -> None:
        await self.field.use(str(self._file("base")), TASK, force=False)

    def _file(self, name: str) -> Path:
        from safetensors.numpy import save_file

        path = self.home / f"{name}.safetensors"
        save_file({"w": np.zeros(1, np.float32)}, path, {"task": TASK})
        return path

    async def use(self, name: str, *, force: bool = False) -> str:
        return (await self.field.use(str(self._file(name)), TASK, force=force)).version

    def local(self) -> LocalSet:
        return LocalSet.open(path_of(self.home, TASK), Limits(per_second=10_000, free_bytes=0), clock)

    def served(self) -> Served:
        found = pointer.read(folder_of(self.home, TASK))
        assert found is not None
        return found

    def change(self, what: str = "the answers are less certain") -> None:
        """The detector of the server raises an alarm, and samples of the new conditions come."""
        with self.local() as local:
            local.alarm(9.0, what)
            self._answers(local, 60, wrong=True)

    def _answers(self, local: LocalSet, count: int, *, wrong: bool) -> list[str]:
        keys = [f"{self.core.name}{self._label + i}" for i in range(count)]
        self._label += count
        version = self.served().version
        answers = [Answered(k, np.zeros((2, 2), np.uint8), int(wrong), 0.5, version, clock()) for k in keys]
        local.add_answers(answers)
        return keys

    def label(self, right: int, wrong: int, former_right: int | None = None) -> None:
        """Labels come for new answers of the model in use; `former_right`: of how many the former model is
        right as well, as the server judges in its shadow."""
        with self.local() as local:
            keys = self._answers(local, right, wrong=False) + self._answers(local, wrong, wrong=True)
            for key in keys:
                local.label(key, 0)
            former = self.served().former
            if former is not None and former_right is not None:
                wanted = local.unjudged(former.version, 1000, self.served().since)
                local.add_verdicts((s.id, former.version, i < former_right) for i, s in enumerate(wanted))

    def wait(self) -> str:
        """What the loop waits for."""
        seen = self.field.loops[TASK].seen
        assert seen is not None
        return seen.step.why if isinstance(seen.step, Wait) else ""

    def said(self) -> str:
        return "\n".join(e.text for e in self.core.log.since(0) if e.kind == "model")


class World:
    """Some nodes that serve the same task, in reach of each other."""

    def __init__(self, names: str, folder: Path, settings: Settings) -> None:
        self.small = SmallField(names)
        self.servers = {
            name: Server(core, folder / name, settings) for name, core in self.small.cores.items()
        }

    def __getitem__(self, name: str) -> Server:
        return self.servers[name]

    async def start(self) -> None:
        await self.small.start()
        for server in self.servers.values():
            server.home.mkdir(parents=True, exist_ok=True)
            server.field.start([TASK])
            await server.first()

    async def until(self, holds: Callable[[], bool], limit_s: float = 600.0) -> None:
        assert await self.small.until(holds, limit_s), {n: s.wait() for n, s in self.servers.items()}

    async def restart(self, name: str) -> Server:
        """The node is another process, with what it had kept."""
        before = self.servers[name]
        await before.core.close()
        core = self.small.cores[name] = self.small.restart(name)
        await core.start()
        server = self.servers[name] = Server(core, before.home, before.settings)
        server._label = before._label
        server.field.start([TASK])
        return server

    async def close(self) -> None:
        await self.small.close()


@pytest.fixture
def in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pointers are dated by the virtual clock."""
    monkeypatch.setattr("muster.serving.pointer.time.time", clock)

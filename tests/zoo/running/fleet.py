"""Three nodes in virtual time that train for real: the daemon's job core, with the child's code in process.

Only the child's process and its pipe are missing; its requests, its task session and its faults are the real
ones.  A step takes `STEP_S` of virtual time, whatever it takes here.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import msgspec

from muster.errors import MusterError
from muster.job.context import Policy
from muster.job.runner import JobRunner
from muster.network.trust.signing import TrustStore
from muster.node.api.job_requests import ask
from muster.node.catalogue import Catalogue
from muster.node.core import Core
from muster.node.event_log import EventLog
from muster.node.trainer.adapter import StoreTrainer
from muster.node.trainer.child import fault_of
from muster.node.trainer.child_process import OnProgress
from muster.node.trainer.messages import Progress, TaskSource
from muster.node.trainer.process import TrainerProcess
from muster.node.trainer.session import Session
from muster.protocol.ids import BlobId, JobId
from muster.simulation.identities import PretendIdentity, PretendVerifier
from muster.simulation.virtual import event_loop
from muster.simulation.virtual.network import SimNetwork
from muster.storage.memory import MemoryStore
from muster.storage.offload import inline

STEP_S = 0.01
LIMIT_S = 3600.0
NAMES = "abc"


class FiledStore(MemoryStore):
    """In memory, but for what the trainer reads from a file."""

    def __init__(self, rng: random.Random, folder: Path) -> None:
        super().__init__(rng)
        self._folder = folder

    def blob_path(self, blob: BlobId) -> Path:
        path = self._folder / blob.hex()
        path.write_bytes(self.read_blob(blob))
        return path


def _of_the_zoo(module: ModuleType) -> bool:
    """Whether it is a task's file or its neighbour, not one of the libraries."""
    file = getattr(module, "__file__", None) or ""
    return bool(file) and "site-packages" not in file and "/muster/" not in file and "/lib/python" not in file


class ChildHere:
    """Implements what `TrainerProcess` asks of its child, without a process."""

    pid, running, ended = 0, True, False

    def __init__(self) -> None:
        self.session = Session()
        self._modules: dict[str, ModuleType] = {}

    def do(self, request: dict[str, Any], on_step: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """The session's answer, with the modules in place that its task imported: each child has its own."""
        before = dict(sys.modules)
        sys.modules.update(self._modules)
        try:
            return self.session.do(request, on_step)
        finally:
            new = {name: module for name, module in sys.modules.items() if before.get(name) is not module}
            self._modules.update({n: m for n, m in new.items() if _of_the_zoo(m)})

    async def request(self, request: dict[str, Any], progress: OnProgress | None = None) -> dict[str, Any]:
        """The session's answer. Both go through MessagePack, as between the processes."""
        plain: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode({"id": 1, **request}))

        def on_step(said: dict[str, Any]) -> None:
            if progress is not None:
                progress(Progress(**said))

        try:
            result = self.do(plain, on_step)
        except Exception as error:
            fault = fault_of(error)
            raise MusterError(fault["code"], fault["sentence"]) from error
        await asyncio.sleep(STEP_S * plain.get("steps", 1))
        if "step_s" in result:
            result["step_s"] = STEP_S
        answer: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(result))
        return answer

    async def end(self, grace_s: float) -> None: ...


class TrainerHere(TrainerProcess):
    """A trainer whose child is a session in this process."""

    async def _running_child(self, *, reopen: bool) -> Any:
        if self._child is None:
            self._child = ChildHere()  # type: ignore[assignment]
        return self._child


@dataclass
class Trainers:
    """Opens a node's trainers, as `node.catalogue.Catalogue` does."""

    source: TaskSource
    store: FiledStore
    folder: Path

    async def open(self, name: str) -> StoreTrainer:
        trainer = TrainerHere()
        facts = await trainer.open(self.source)
        return StoreTrainer(trainer, facts, self.store, self.folder, inline, lambda text: None)

    async def keep(self, name: str, trainer: StoreTrainer) -> None:
        await trainer.close()

    borrowed: ClassVar[Any] = Catalogue.borrowed


@dataclass
class Ended:
    """A job that is over: each node's final model as bytes, the asker's runner, and what was said."""

    blobs: dict[str, bytes]
    runner: JobRunner
    finished: str
    rounds: int
    said: list[str] = field(default_factory=list)
    carried_bytes: int = 0  # over all links, both ways, from the request on


def source(reference: str, options: Mapping[str, Any]) -> TaskSource:
    """A task on all of this process's share of the machine."""
    return TaskSource(reference, dict(options), threads=1, niceness=0)


class Fleet:
    """A mesh of three nodes that have one task, each with its own options."""

    def __init__(self, reference: str, folder: Path, options: Mapping[str, Mapping[str, Any]] = {}) -> None:
        self.network = SimNetwork(random.Random(1))
        self.trainers: dict[str, Trainers] = {}
        self.cores: dict[str, Core] = {}
        for number, name in enumerate(NAMES):
            here = folder / name
            here.mkdir()
            store = FiledStore(random.Random(name), here)
            given = {"part": number, "parts": len(NAMES), **options.get(name, {})}
            self.trainers[name] = Trainers(source(reference, given), store, here)
            self.cores[name] = self._core(name, store)
        for a, b in ("ab", "bc", "ac"):
            self.network.connect(self.cores[a].node, self.cores[b].node)

    def _core(self, name: str, store: FiledStore) -> Core:
        identity = PretendIdentity(name)
        return Core(
            name=name,
            signer=identity,
            member=identity.member(),
            trust=TrustStore(PretendVerifier()),
            store=store,
            link=self.network.link(identity.node, name),
            policy=Policy(),
            open_trainer=self.trainers[name].open,
            installed=lambda task: True,
            battery=lambda: None,
            log=EventLog(lambda: 0.0),
            offload=inline,
        )

    async def job(self, task: str, **request: Any) -> Ended:
        """Ask for a job at the first node and see it to its end on all of them."""
        for core in self.cores.values():
            await core.start()
        await asyncio.sleep(3.0)
        first, before = self.cores[NAMES[0]], self._carried_bytes()
        job = await ask(first, self.trainers[NAMES[0]], {"task": task, "min_nodes": 3, **request}, b"zoo")  # type: ignore[arg-type]
        while not self._settled(job):
            await asyncio.sleep(0.5)
        runner = first.jobs.runners[job]
        said = [e.text for core in self.cores.values() for e in core.log.since(0)]
        blobs = {name: self._model(core, job) for name, core in self.cores.items()}
        head = runner.head()
        carried = self._carried_bytes() - before
        ended = Ended(blobs, runner, runner.finished() or "", head.round if head else 0, said, carried)
        for core in self.cores.values():
            await core.close()
        return ended

    def _carried_bytes(self) -> int:
        nodes = [core.node for core in self.cores.values()]
        return sum(self.network.carried_bytes(a, b) for a in nodes for b in nodes if a != b)

    def _settled(self, job: JobId) -> bool:
        """Whether the job is over on every node, with one head that each holds."""
        heads = set()
        for core in self.cores.values():
            runner = core.jobs.runners.get(job)
            if runner is None or runner.finished() is None:
                return False
            head = runner.head()
            if head is None or not runner.models.held(head.id):
                return runner.error is not None
            heads.add(head.id)
        return len(heads) == 1

    @staticmethod
    def _model(core: Core, job: JobId) -> bytes:
        runner = core.jobs.runners[job]
        head = runner.head()
        blob = runner.models.blob_of(head.id) if head is not None else None
        return core.store.read_blob(blob) if blob is not None else b""


def run_job(reference: str, folder: Path, task: str, **request: Any) -> Ended:
    """A whole job of three nodes in virtual time."""

    async def main() -> Ended:
        return await Fleet(reference, folder).job(task, **request)

    return event_loop.run(main(), LIMIT_S)

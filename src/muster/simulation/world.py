"""Simulated nodes on one virtual loop: the daemon's own `Core` over simulated links, disks and trainers.

A `World` interprets faults (faults.py and the few below that only a simulation can make) and keeps an archive
of every record and blob that any node ever wrote, from which the invariants are judged afterwards.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import hashlib
import random
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from muster.job.context import Policy, TrainerLike
from muster.network.seals import PretendIdentity, PretendVerifier, Roll
from muster.node.asking import open_job
from muster.node.core import Core
from muster.records import (
    BlobId,
    Job,
    JobId,
    NodeId,
    Recipe,
    Record,
    RecordId,
    Stop,
    StopRule,
    Update,
    decode,
    unpack,
)
from muster.simulation import faults as f
from muster.simulation.faults import _Fault
from muster.simulation.lives import LIFE, Life, LivesLoop
from muster.simulation.mortal import MortalStore
from muster.simulation.network import PathParams, SimLink, SimNetwork, Timing
from muster.simulation.trainer import TASK, LinearFacts, LinearTrainer, initial_blob, layout_of, target_of
from muster.storage.memory import MemoryStore
from muster.storage.store import StorageError


class LoseDisk(_Fault, frozen=True, tag="lose_disk"):
    """The node dies and comes back after `after_s` with an empty disk."""

    node: str
    after_s: float = 30.0


class CrashTrainer(_Fault, frozen=True, tag="crash_trainer"):
    """The trainer child dies."""

    node: str


class KillAtWrite(_Fault, frozen=True, tag="kill_at_write"):
    """The node dies at its `writes`-th write from now, and starts again `after_s` later."""

    node: str
    writes: int
    after_s: float = 20.0


class StopJob(_Fault, frozen=True, tag="stop_job"):
    """A user at this node ends the job."""

    node: str


class Bury(_Fault, frozen=True, tag="bury"):
    """The node dies for good: neither process nor disk comes back."""

    node: str


WorldFault: TypeAlias = f.Fault | LoseDisk | CrashTrainer | KillAtWrite | StopJob | Bury
_NEEDS_LIFE = (f.Kill, f.Pause, f.Resume, CrashTrainer, KillAtWrite, StopJob)


class NodeSpec(msgspec.Struct, frozen=True):
    """One simulated device."""

    name: str
    samples: int
    step_s: float
    starts_s: float = 0.0
    accepts: bool = True
    disk_limit_bytes: int = 2_000_000_000


class LinkSpec(msgspec.Struct, frozen=True):
    a: str
    b: str
    params: PathParams


class JobSpec(msgspec.Struct, frozen=True):
    asker: str
    at_s: float
    rounds: int | None
    seconds: float | None
    steps: int
    lr: float
    patience_s: float
    min_nodes: int
    weights: int  # of the stand-in model
    codec: str
    common: bool  # there is an evaluation set that every node has


class Spec(msgspec.Struct, frozen=True):
    """What a world is made of."""

    seed: int
    nodes: tuple[NodeSpec, ...]
    links: tuple[LinkSpec, ...]
    job: JobSpec
    timing: Timing = Timing()


@dataclass
class Archive:
    """Everything that any node ever wrote."""

    records: dict[RecordId, tuple[NodeId, Record]] = field(default_factory=dict)
    updates: list[RecordId] = field(default_factory=list)
    trained: dict[RecordId, NDArray[np.float32]] = field(default_factory=dict)  # before any compression
    when: dict[RecordId, float] = field(default_factory=dict)  # first written
    blobs: dict[BlobId, bytes] = field(default_factory=dict)
    story: list[tuple[float, str, str]] = field(default_factory=list)  # time, node, what
    _trace: hashlib._Hash = field(default_factory=hashlib.sha256)

    def wrote(self, now_s: float, name: str, record_id: RecordId, wire: bytes) -> None:
        self._trace.update(b"%.6f %s " % (now_s, name.encode()) + record_id)
        if record_id not in self.records:
            signed = unpack(wire)
            record = decode(signed.body)
            self.records[record_id] = (signed.author, record)
            if isinstance(record, Update):
                self.updates.append(record_id)
            self.when[record_id] = now_s

    def tell(self, now_s: float, name: str, text: str) -> None:
        self._trace.update(f"{now_s:.6f} {name} {text}".encode())
        self.story.append((now_s, name, text))

    def trace(self) -> str:
        """Equal runs have equal traces."""
        return self._trace.hexdigest()[:16]


class Machine:
    """One device: its disk outlives its processes."""

    def __init__(self, world: World, spec: NodeSpec, number: int) -> None:
        self.world, self.spec, self.number = world, spec, number
        self.identity = PretendIdentity(spec.name)
        self.node: NodeId = self.identity.node
        self.rng = random.Random(f"{world.spec.seed}/{spec.name}")
        self.disk = MemoryStore(self.rng)
        self.core: Core | None = None
        self.life: Life | None = None
        self.store: MortalStore | None = None
        self.trainers: list[LinearTrainer] = []
        self.offset_s = 0.0
        self.buried = False
        self.lives = 0
        self.losses = 0
        self.wanted = False  # to run, as far as the schedule goes
        self.again_s = 0.0  # after a death at a write
        self._ending: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        return self.core is not None

    async def start(self) -> None:
        if self._ending is not None:
            await self._ending
        if self.core is not None or self.buried:
            return
        world, loop = self.world, asyncio.get_running_loop()
        self.lives += 1
        life = self.life = Life(f"{self.spec.name}/{self.lives}")
        store = self.store = MortalStore(
            self.disk,
            on_end=lambda: self._died(life),
            on_add=self._wrote,
            on_blob=world.archive.blobs.setdefault,
        )
        link = world.network.link(self.node, self.spec.name)
        policy = Policy(accept=self.spec.accepts, disk_limit_bytes=self.spec.disk_limit_bytes)
        trainers = self.trainers = []

        async def open_trainer(task: str) -> TrainerLike:
            trainer = LinearTrainer(
                world.facts(self.spec), store, world.target(self.number), self.spec.step_s, self.rng
            )
            trainers[:] = [t for t in trainers if not t.closed] + [trainer]
            return trainer

        try:
            core = self.core = Core(
                name=self.spec.name,
                signer=self.identity,
                member=self.identity.member(),
                roll=Roll(PretendVerifier()),
                store=store,
                link=link,
                policy=policy,
                open_trainer=open_trainer,
                installed=lambda task: task == TASK,
                battery=lambda: None,
                wall_clock=lambda: 1.6e9 + loop.time() + self.offset_s,
            )
        except StorageError as error:
            self._not_started(error)
            return
        tell = core.context.event

        def event(kind: str, text: str, **more: object) -> None:
            if store.alive:
                world.archive.tell(loop.time(), self.spec.name, text)
            tell(kind, text, **more)

        core.context.event = event
        context = contextvars.copy_context()
        context.run(LIFE.set, life)
        world.tell(self.spec.name, "starts")
        try:
            await loop.create_task(core.start(), context=context)
        except StorageError as error:
            self._not_started(error)

    def _not_started(self, error: StorageError) -> None:
        """As the daemon: it ends with a sentence, and its supervisor tries again."""
        self.world.tell(self.spec.name, f"cannot start: {error}")
        if self.core is not None:
            self.kill()
        self.life = self.store = None
        self.world.start_later(self, 10.0)

    def _wrote(self, record_id: RecordId, wire: bytes) -> None:
        archive = self.world.archive
        known = record_id in archive.records
        archive.wrote(self.world.now(), self.spec.name, record_id, wire)
        if not known and isinstance(archive.records[record_id][1], Update) and self.trainers:
            archive.trained[record_id] = self.trainers[-1].last

    def _died(self, life: Life) -> None:
        if self.life is life:
            self.world.tell(self.spec.name, "dies at a write")
            self.kill()
            self.world.start_later(self, self.again_s)

    def kill(self) -> None:
        """The process ends now: nothing is written, said or done by it any more."""
        core, life, store = self.core, self.life, self.store
        if core is None or life is None or store is None:
            return
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LivesLoop)
        self.core = self.life = self.store = None
        store.end()
        self.disk.crash(self.rng)
        link = core.link
        assert isinstance(link, SimLink)
        loop.call_soon(self.world.network.kill, self.node, context=contextvars.Context())
        loop.resume(life)
        self._ending = loop.create_task(self._bury_life(core, life), context=contextvars.Context())

    async def _bury_life(self, core: Core, life: Life) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LivesLoop)
        await asyncio.sleep(0)
        await core.close()
        for task in loop.tasks_of(life):
            task.cancel()
        await asyncio.gather(*loop.tasks_of(life), return_exceptions=True)
        self._ending = None

    def lose_disk(self) -> None:
        self.kill()
        self.losses += 1
        self.disk.lose(self.rng)


class World:
    """Build it inside the loop that runs it."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.archive = Archive()
        self.network = SimNetwork(random.Random(f"{spec.seed}/network"), spec.timing)
        self.layout = layout_of(spec.job.weights)
        self.machines = {s.name: Machine(self, s, i) for i, s in enumerate(spec.nodes)}
        self.by_node = {m.node: m for m in self.machines.values()}
        self.job: JobId | None = None
        self.applied = 0  # faults that took effect
        self.stopped = False
        self._starts: dict[asyncio.Task[None], None] = {}
        for link in spec.links:
            self.network.connect(self.machines[link.a].node, self.machines[link.b].node, link.params)

    # ---- what nodes are given ------------------------------------------------------------------------

    def facts(self, spec: NodeSpec) -> LinearFacts:
        return LinearFacts(self.layout, spec.samples, self.spec.job.common)

    def target(self, number: int) -> NDArray[np.float32]:
        return target_of(self.spec.seed * 100 + number, self.spec.job.weights)

    # ---- running -------------------------------------------------------------------------------------

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def tell(self, name: str, text: str) -> None:
        self.archive.tell(self.now(), name, text)

    def up(self) -> list[Machine]:
        return [m for m in self.machines.values() if m.core is not None]

    def standing(self) -> list[Machine]:
        """Those that are not dead for good."""
        return [m for m in self.machines.values() if not m.buried]

    async def ask(self) -> JobId:
        """The asker asks, as a user would on it."""
        spec = self.spec.job
        asker = self.machines[spec.asker]
        assert asker.core is not None
        recipe = Recipe(spec.lr, 10, spec.steps, self.spec.seed, codec=spec.codec, down_codec=spec.codec)
        stop = StopRule(rounds=spec.rounds, seconds=spec.seconds)
        job = Job(
            TASK, self.layout.fingerprint(), recipe, stop, spec.min_nodes, spec.patience_s,
            self.spec.seed.to_bytes(8, "big"),
        )  # fmt: skip
        context = contextvars.copy_context()
        context.run(LIFE.set, asker.life)
        blob = asker.core.store.put_blob(initial_blob(self.layout))
        self.job = context.run(open_job, asker.core, job, blob)
        return self.job

    async def close(self) -> None:
        for task in list(self._starts):
            task.cancel()
        for machine in self.up():
            machine.kill()
        for machine in self.machines.values():
            if machine._ending is not None:
                await machine._ending

    # ---- faults --------------------------------------------------------------------------------------

    async def mend(self) -> None:
        """The last heal: all that is not dead for good works again, over clean links."""
        self.tell("*", "everything heals")
        self.network.heal_all()
        for machine in self.machines.values():
            for other in self.network.neighbours_of(machine.node):
                params = self.network.params(machine.node, other)
                rate_bytes_s = max(params.rate_bytes_s, 8000.0)
                mended = dataclasses.replace(
                    params, rate_bytes_s=rate_bytes_s, ask_loss=min(params.ask_loss, 0.05),
                    nudge_loss=min(params.nudge_loss, 0.05),
                )  # fmt: skip
                self.network.set(machine.node, other, mended, one_way=True)
            if machine.buried:
                continue
            machine.disk.free()
            if machine.life is not None:
                self._loop().resume(machine.life)
            if machine.store is not None:
                machine.store.disarm()
            self.start_later(machine, 0.1)

    async def apply(self, fault: WorldFault) -> bool:
        """Let a fault happen; False for one that makes no sense now (killing the dead)."""
        self.tell("*", f"fault: {describe(fault)}")
        links = [
            (m.spec.name, self.by_node[other].spec.name)
            for m in self.machines.values()
            for other in self.network.neighbours_of(m.node)
        ]
        if isinstance(fault, f.Cut | f.Heal | f.Partition | f.Slow | f.Lose):
            for (a, b), change in f.link_changes(fault, links).items():
                self._change(self.machines[a].node, self.machines[b].node, change)
            return True
        machine = self.machines[fault.node]
        if machine.buried or (not machine.up and isinstance(fault, _NEEDS_LIFE)):
            return False
        match fault:
            case f.Leave():
                self.network.isolate(machine.node)
            case f.Return():
                self.network.rejoin(machine.node)
            case f.Kill():
                machine.wanted = False
                machine.kill()
            case f.Restart():
                machine.kill()
                self.start_later(machine, fault.after_s)
            case LoseDisk():
                machine.lose_disk()
                self.start_later(machine, fault.after_s)
            case Bury():
                machine.kill()
                machine.buried = True
            case KillAtWrite():
                if machine.store is not None:
                    machine.store.arm(fault.writes)
                    machine.again_s = fault.after_s
            case f.Pause():
                if machine.life is not None:
                    self._loop().pause(machine.life)
                    self.network.isolate(machine.node)
            case f.Resume():
                self.network.rejoin(machine.node)
                if machine.life is not None:
                    self._loop().resume(machine.life)
            case f.FillDisk(free_bytes=None):
                machine.disk.free()
            case f.FillDisk():
                machine.disk.fill()
            case f.SkewClock():
                machine.offset_s = fault.offset_s
            case CrashTrainer():
                for trainer in machine.trainers:
                    trainer.crash()
            case StopJob():
                core = machine.core
                if core is not None and self.job is not None and self.job in core.jobs.runners:
                    core.ledger.publish(Stop(self.job, "by its user"))
                    self.stopped = True
        return True

    def start_later(self, machine: Machine, after_s: float) -> None:
        async def start() -> None:
            await asyncio.sleep(after_s)
            await machine.start()

        task = asyncio.get_running_loop().create_task(start(), context=contextvars.Context())
        self._starts[task] = None
        task.add_done_callback(lambda done: self._starts.pop(done, None))

    def _change(self, a: NodeId, b: NodeId, change: f.Change) -> None:
        if change.get("up") is False:
            self.network.cut(a, b, one_way=True)
        elif change.get("up") is True:
            self.network.heal(a, b, one_way=True)
        else:
            params = self.network.params(a, b)
            if "loss" in change:
                loss = float(change["loss"])
                params = dataclasses.replace(params, ask_loss=loss, nudge_loss=loss)
            if "rate_kbit_s" in change:
                params = dataclasses.replace(params, rate_bytes_s=float(change["rate_kbit_s"]) * 125.0)
            if "delay_ms" in change:
                params = dataclasses.replace(params, delay_s=float(change["delay_ms"]) / 1000.0)
            self.network.set(a, b, params, one_way=True)

    @staticmethod
    def _loop() -> LivesLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LivesLoop)
        return loop


def describe(fault: WorldFault) -> str:
    fields = {k: v for k, v in msgspec.to_builtins(fault).items() if k != "fault" and v is not None}
    return f"{type(fault).__name__} " + " ".join(f"{k}={v}" for k, v in fields.items())

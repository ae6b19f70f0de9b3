"""A simulated device: runs and restarts the daemon's own `Core` over a simulated link, disk and trainer."""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from collections.abc import Callable

from muster.job.context import Policy, SharePolicy, TrainerLike
from muster.job.models import residuals
from muster.job.owner.allowance import OwnerLimits
from muster.job.runner import JobRunner
from muster.network.trust.signing import TrustStore
from muster.node.core import Core
from muster.node.energy.account import EnergyAccount
from muster.node.energy.meters import PowerModel
from muster.node.energy.presets import Radio
from muster.node.event_log import EventLog
from muster.protocol.ids import CommitId, JobId, NodeId, RecordId
from muster.protocol.parts import Power
from muster.protocol.records import Commit, Plan, Update
from muster.protocol.vocabulary import CURRENT
from muster.simulation.archive import Archive, Left
from muster.simulation.identities import PretendIdentity, PretendVerifier
from muster.simulation.later import LaterVocabulary
from muster.simulation.mortal_store import MortalStore
from muster.simulation.slow_threads import SlowThreads
from muster.simulation.specs import MachineSpec, WorldSpec
from muster.simulation.trainers.base import SimTrainer
from muster.simulation.trainers.kinds import trainer_of
from muster.simulation.virtual.link import SimLink
from muster.simulation.virtual.lives import LIFE, Life, LivesLoop
from muster.simulation.virtual.network import SimNetwork
from muster.storage.memory import MemoryStore
from muster.storage.store import StorageError

BATTERY_MIN, BATTERY_LOW = 0.3, 0.1
BEGAN_S = 1.6e9  # what the clock shows when a world begins: about noon,
MIDNIGHT_S = BEGAN_S + 41_600.0  # so long before a midnight
UP_S = 86_400.0  # since when the machine itself is up by then


class Machine:
    """One device: its disk outlives its processes. What it writes and says goes into the archive."""

    def __init__(self, world: WorldSpec, number: int, archive: Archive, network: SimNetwork) -> None:
        """The device `world.nodes[number]`."""
        self.spec: MachineSpec = world.nodes[number]
        self._world, self._number, self._archive, self._network = world, number, archive, network
        self.identity = PretendIdentity(self.spec.name)
        self.node: NodeId = self.identity.node
        self.rng = random.Random(f"{world.seed}/{self.spec.name}")
        self.disk = MemoryStore(self.rng)
        self.core: Core | None = None
        self.life: Life | None = None
        self.store: MortalStore | None = None
        self.trainers: list[SimTrainer] = []
        self.offset_s = 0.0
        self.buried = False
        self.revoked = False  # somebody else has its key until all heals, and then it is nowhere
        self.lives = 0
        self.unrecorded: JobId | None = None  # the job of a finished training that is not on record yet
        self.thrown_away = 0  # trainings that never came on record, though process and job went on
        self.adopted_s = 0.0  # when it took a job's model into use
        self.greeted = -1  # the incarnation of the disk on which it said that it is of the next version
        self.noted: set[CommitId] = set()  # of which it said what only the next version can
        self.again_s = 0.0  # until the restart after a death at a write
        self._used_j = 0.0  # in lives before this one
        self.left: dict[JobId, Left] = {}  # by job: what its commits as coordinator left out so far
        self._ending: asyncio.Task[None] | None = None
        self._starts: dict[asyncio.Task[None], None] = {}  # to come; a dict for its order

    @property
    def up(self) -> bool:
        return self.core is not None

    @property
    def later(self) -> bool:
        """Whether its last process is of the next version."""
        return self.spec.later_from is not None and self.lives >= self.spec.later_from

    @property
    def willing(self) -> bool:
        """Whether it takes part in jobs."""
        given = self.core is not None and self.core.allowance.why_not() is not None
        return not (self.buried or self.revoked) and not self.spec.unwilling and not given

    def used_j(self) -> float:
        """What it used while it ran."""
        return self._used_j + (self.core.energy.used_j() if self.core is not None else 0.0)

    async def start(self) -> None:
        if self._ending is not None:
            await self._ending
        if self.core is not None or self.buried:
            return
        self.lives += 1
        life = self.life = Life(f"{self.spec.name}/{self.lives}")
        store = self.store = MortalStore(
            self.disk,
            on_end=lambda: self._died(life),
            on_add=self._wrote,
            on_blob=self._archive.blobs.setdefault,
        )
        self.trainers = []
        try:
            core = self.core = self._core(store)
        except StorageError as error:
            self._not_started(error)
            return
        context = contextvars.copy_context()
        context.run(LIFE.set, life)
        self._tell("starts")
        try:
            await asyncio.get_running_loop().create_task(core.start(), context=context)
        except StorageError as error:
            self._not_started(error)

    def _core(self, store: MortalStore) -> Core:
        spec, archive = self.spec, self._archive
        now = asyncio.get_running_loop().time
        trainers = self.trainers
        low = spec.unwilling == "battery"

        def on_trained(trainer: SimTrainer) -> None:
            self._trained(store, trainer)

        async def open_trainer(task: str) -> TrainerLike:
            trainer = trainer_of(self._world, spec, self._number, store, self.rng, on_trained)
            trainers[:] = [t for t in trainers if not t.closed] + [trainer]
            return trainer

        def on_job_event(text: str) -> None:
            if store.alive:
                archive.tell(now(), spec.name, text)

        midnight_s = self._world.midnight_s
        began_s = BEGAN_S if midnight_s is None else MIDNIGHT_S - midnight_s
        link = self._network.link(self.node, spec.name)
        energy = account_of(spec.power, now, link.traffic_total)
        return Core(
            name=spec.name,
            signer=self.identity,
            member=self.identity.member(),
            trust=TrustStore(PretendVerifier(), LaterVocabulary() if self.later else CURRENT),
            store=store,
            link=link,
            policy=Policy(
                accept=spec.unwilling != "policy",
                battery_min=BATTERY_MIN,
                disk_limit_bytes=spec.disk_limit_bytes,
                owner=OwnerLimits(spec.bytes_per_day),
                share=SharePolicy(spec.share),
                adapt=spec.adapts,
            ),
            open_trainer=open_trainer,
            installed=lambda task: spec.unwilling != "not_installed",
            battery=lambda: BATTERY_LOW if low else None,
            energy=energy,
            log=EventLog(lambda: began_s + now() + self.offset_s, time.gmtime),
            measured=lambda: UP_S + now(),
            offload=SlowThreads(
                random.Random(f"{self._world.seed}/{spec.name}/{self.lives}"), self._world.heavy_s
            ),
            on_job_event=on_job_event,
        )

    def _not_started(self, error: StorageError) -> None:
        """The daemon ends with a sentence; its supervisor restarts it."""
        self._tell(f"cannot start: {error}")
        if self.core is not None:
            self.kill()
        self.life = self.store = None
        self.start_later(10.0)

    def _wrote(self, record_id: RecordId, wire: bytes) -> None:
        archive = self._archive
        known = record_id in archive.records
        archive.wrote(_now_s(), self.spec.name, record_id, wire)
        record = archive.records[record_id][1]
        if not known and isinstance(record, Update | Commit):
            self._note_left(record_id, record)
        if not known and isinstance(record, Plan):
            self._note_plan(record_id, record)
        if not known and isinstance(record, Update) and self.trainers:
            archive.trained[record_id] = self.trainers[-1].last
            self.unrecorded = None

    def runner(self, job: JobId) -> JobRunner | None:
        """A job in this node's memory; None: it is not there, or the node is off."""
        return self.core.jobs.runners.get(job) if self.core is not None else None

    def _note_plan(self, record_id: RecordId, record: Plan) -> None:
        """Archive what this node planned a round from, beside the history."""
        runner = self.runner(record.job)
        head = runner.view.graph.points.get(record.parent) if runner is not None else None
        if runner is not None and head is not None:  # a forged plan may name any parent
            nodes = [
                a.node for a in record.assignments if a.node in runner.view.offers
            ]  # all but a forged one's
            self._archive.planned[record_id] = runner.planner.inputs(head, nodes)

    def _note_left(self, record_id: RecordId, record: Update | Commit) -> None:
        """Archive what this node's messages left out: its updates, and its commits as coordinator."""
        before = self.left.get(record.job)
        after = residuals.tagged(self.disk, "down", record.job)
        if isinstance(record, Update):
            self._archive.kept[record_id] = residuals.tagged(self.disk, "up", record.job)
        if isinstance(record, Commit):
            self._archive.left[record_id] = (before, after)
        elif before is not None and after is None:
            runner = self.runner(record.job)
            self._archive.brought[record_id] = before, list(runner.view.offers) if runner is not None else []
        if after is None:
            self.left.pop(record.job, None)
        else:
            self.left[record.job] = after

    def _trained(self, store: MortalStore, trainer: SimTrainer) -> None:
        core = self.core
        if core is None or store is not self.store:
            return  # a process that was killed while it was paused: its child was at the end of its work
        self.look()
        self.thrown_away += self.unrecorded is not None
        runners = core.jobs.runners.items()
        works = [j for j, r in runners if r.participant and r.participant.trainer.child is trainer]
        self.unrecorded = works[0]

    def look(self) -> None:
        """Forget an unrecorded training whose job has ended: its update would only be discarded."""
        if self.unrecorded and self.core is not None and self.core.jobs.runners[self.unrecorded].finished():
            self.unrecorded = None

    def _died(self, life: Life) -> None:
        if self.life is life:
            self._tell("dies at a write")
            self.kill()
            self.start_later(self.again_s)

    def misfires(self) -> None:
        """A fault in the program: what it was about to write is trained again."""
        self._tell("misfires at a write")
        self.unrecorded = None

    def kill(self) -> None:
        """End the process now: it writes, sends and does nothing any more."""
        core, life, store = self.core, self.life, self.store
        if core is None or life is None or store is None:
            return
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LivesLoop)
        self._used_j = self.used_j()
        self.core = self.life = self.store = None
        self.unrecorded = None
        store.end()
        self.disk.crash(self.rng)
        assert isinstance(core.link, SimLink)
        loop.call_soon(self._network.kill, self.node, context=contextvars.Context())
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

    async def ended(self) -> None:
        """Wait until no task of its last life is left."""
        if self._ending is not None:
            await self._ending

    def start_later(self, after_s: float) -> None:
        async def start() -> None:
            await asyncio.sleep(after_s)
            await self.start()

        task = asyncio.get_running_loop().create_task(start(), context=contextvars.Context())
        self._starts[task] = None
        task.add_done_callback(lambda done: self._starts.pop(done, None))

    def stay_down(self) -> None:
        """Cancel the starts that are still to come."""
        for task in list(self._starts):
            task.cancel()

    def _tell(self, text: str) -> None:
        self._archive.tell(_now_s(), self.spec.name, text)

    def lose_disk(self) -> None:
        self.kill()
        self.disk.lose(self.rng)
        self.left.clear()


def account_of(
    power: Power | None, now: Callable[[], float], traffic: Callable[[], tuple[int, int]]
) -> EnergyAccount:
    """What a node uses that draws so much."""
    if power is None:
        return EnergyAccount()
    radio = Radio(power.sent_j_byte, power.received_j_byte, power.exchange_j)
    return EnergyAccount(PowerModel(power.idle_w, power.train_w), radio, now=now, traffic=traffic)


def _now_s() -> float:
    return asyncio.get_running_loop().time()

"""Simulated nodes on one virtual loop, and what faults do to them.

A `World` interprets faults (faults.py and the few of specs.py that only a simulation can make) and keeps an
archive of every record and blob that any node ever wrote.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import random
from dataclasses import dataclass

from muster.errors import MusterError
from muster.history.point import Point
from muster.job.context import Model
from muster.network.trust.signing import seal
from muster.node.api.inspection import bring
from muster.node.api.job_requests import open_job
from muster.node.api.revoking import to_stand
from muster.node.core import Core
from muster.protocol.ids import JobId, NodeId
from muster.protocol.parts import CLASSES, LOSS, Recipe, StopRule, Target
from muster.protocol.records import Job, Revocation, Stop
from muster.simulation import faults as f
from muster.simulation import inner_effects
from muster.simulation.archive import Archive
from muster.simulation.identities import OWNER
from muster.simulation.machine import Machine
from muster.simulation.mortal_store import Killed, Unexpected
from muster.simulation.specs import (
    BitRot,
    Bury,
    ChangeAddress,
    Clone,
    CrashTrainer,
    Flood,
    JobSpec,
    KillAtWrite,
    LoseDisk,
    Misfire,
    Poison,
    Revoke,
    Stall,
    StopJob,
    WorldFault,
    WorldSpec,
    describe,
    sketch_of,
)
from muster.simulation.trainers import kinds
from muster.simulation.virtual.lives import LIFE, LivesLoop
from muster.simulation.virtual.network import SimNetwork
from muster.storage.store import StorageError

_NEEDS_LIFE = (
    f.Kill,
    f.Pause,
    f.Resume,
    CrashTrainer,
    KillAtWrite,
    Stall,
    Misfire,
    BitRot,
    Poison,
    Flood,
    ChangeAddress,
    Clone,
    StopJob,
)
BATCH = 10

ONE_SHOT_BYTES = 100_000  # of one node: so that some samples of every simulated task fit


@dataclass(frozen=True)
class Asked:
    """A job that a user asked for."""

    id: JobId
    spec: JobSpec


class World:
    """Build it inside the loop that runs it."""

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec
        self.archive = Archive()
        self.network = SimNetwork(random.Random(f"{spec.seed}/network"), spec.timing)
        self.layout = kinds.layout_of(spec.task)
        self.machines = {
            s.name: Machine(spec, i, self.archive, self.network) for i, s in enumerate(spec.nodes)
        }
        self.by_node = {m.node: m for m in self.machines.values()}
        self.jobs: list[Asked] = []
        self.contacts = 0  # heals that brought links back, and each link that the last one did
        for link in spec.links:
            self.network.connect(self.machines[link.a].node, self.machines[link.b].node, link.params)

    # ---- running -------------------------------------------------------------------------------------

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def tell(self, name: str, text: str) -> None:
        self.archive.tell(self.now(), name, text)

    def up(self) -> list[Machine]:
        return [m for m in self.machines.values() if m.core is not None]

    def standing(self) -> list[Machine]:
        """The machines that are not dead for good."""
        return [m for m in self.machines.values() if not (m.buried or m.revoked)]

    async def ask(self, spec: JobSpec) -> bool:
        """Publish a job on its asker, as a user would; False when that is impossible now."""
        asker = self.machines[spec.asker]
        core = asker.core
        if core is None or asker.disk.is_full:
            return False
        context = contextvars.copy_context()
        context.run(LIFE.set, asker.life)
        asking = asyncio.get_running_loop().create_task(self._ask(core, spec), context=context)
        try:
            return await asking
        except Unexpected:  # its user sees a fault in Muster
            return False
        except asyncio.CancelledError:  # the asker's process ended in the midst of it
            task = asyncio.current_task()
            if asker.core is core or (task is not None and task.cancelling()):
                raise
            return False

    async def _ask(self, core: Core, spec: JobSpec) -> bool:
        start = await self._start(core, spec)
        if start is None or not core.store.has_blob(start.blob):
            return False
        recipe = Recipe(
            spec.lr, BATCH, 0 if spec.planned else spec.steps, self.spec.seed, codec=spec.codec,
            down_codec=spec.down_codec, average=spec.average,
            server_momentum=None if spec.planned else spec.server_momentum,
        )  # fmt: skip
        metrics = (LOSS, CLASSES[0]) if spec.by_loss else CLASSES
        target = None if spec.target is None else Target(metrics[0].name, spec.target)
        stop = StopRule(rounds=spec.rounds, seconds=spec.seconds, target=target, stale=spec.stale)
        nonce = self.spec.seed.to_bytes(8, "big") + bytes([len(self.jobs)])
        level = self.machines[spec.asker].spec.sketch
        like = sketch_of(level) if spec.adapts and level is not None else b""
        name, fingerprint = kinds.task_name(self.spec.task), self.layout.fingerprint()
        job = Job(
            name, fingerprint, recipe, stop, spec.min_nodes, spec.patience_s, nonce, metrics,
            prune=spec.prune, share=spec.share, share_bytes=ONE_SHOT_BYTES * bool(spec.one_shot),
            one_shot=spec.one_shot, like=like, replay=BATCH if like else 0,
        )  # fmt: skip
        job_id = open_job(core, job, start.blob, spec.linger_s, shape=start.shape)
        self.jobs.append(Asked(job_id, spec))
        return True

    async def _start(self, core: Core, spec: JobSpec) -> Model | None:
        """Fresh parameters, or those of a commit of the job before: as `train --from` does."""
        if spec.back is None or not self.jobs:
            return Model(core.store.put_blob(kinds.initial_blob(self.spec.task)))
        runner = core.jobs.runners.get(self.jobs[-1].id)
        points: list[Point] = list(runner.view.graph.points.values()) if runner is not None else []
        if runner is None or not points:
            return None
        runner.models.learn_layout(self.layout)
        runner.models.forms.learn_structure(kinds.structure_of(self.layout))
        point = points[min(len(points) - 1, int(spec.back * len(points)))]
        try:
            await bring(core, runner, point, spec.patience_s)
        except MusterError as error:
            self.tell(spec.asker, error.sentence)
            return None
        self.tell(spec.asker, f"asks for a job that begins at round {point.round}")
        return runner.models.model_of(point.id)

    async def close(self) -> None:
        for machine in self.machines.values():
            machine.stay_down()
        for machine in self.up():
            machine.kill()
        for machine in self.machines.values():
            await machine.ended()

    # ---- faults --------------------------------------------------------------------------------------

    async def mend(self) -> None:
        """The last heal: all that is not dead for good works again, over clean links."""
        self.tell("*", "everything heals")
        for machine in self.machines.values():
            if machine.revoked:
                machine.kill()
                machine.buried = True
        ends = ((self.machines[link.a].node, self.machines[link.b].node) for link in self.spec.links)
        self.contacts += sum(not self.network.contact(a, b) for a, b in ends)
        self.network.heal_all()
        for machine in self.machines.values():
            for other in self.network.neighbours_of(machine.node):
                params = self.network.params(machine.node, other)
                rate_bytes_s = max(params.rate_bytes_s, 8000.0)
                mended = dataclasses.replace(
                    params, rate_bytes_s=rate_bytes_s, ask_loss=min(params.ask_loss, 0.05),
                    nudge_loss=min(params.nudge_loss, 0.05),
                )  # fmt: skip
                self.network.set(machine.node, other, mended, one_direction=True)
            if machine.buried:
                continue
            machine.disk.free()
            if machine.life is not None:
                self._loop().resume(machine.life)
            if machine.store is not None:
                machine.store.disarm()
            machine.start_later(0.1)

    async def apply(self, fault: WorldFault) -> bool:
        """Apply a fault; whether it changed anything (killing the dead does not)."""
        self.tell("*", f"fault: {describe(fault)}")
        if isinstance(fault, f.Cut | f.Heal | f.Partition | f.Slow | f.Lose):
            links = [
                (m.spec.name, self.by_node[other].spec.name)
                for m in self.machines.values()
                for other in self.network.neighbours_of(m.node)
            ]
            changed = [
                self._change(self.machines[a].node, self.machines[b].node, change)
                for (a, b), change in f.link_changes(fault, links).items()
            ]
            self.contacts += isinstance(fault, f.Heal) and any(changed)
            return any(changed)
        machine = self.machines[fault.node]
        if machine.buried or (not machine.up and isinstance(fault, _NEEDS_LIFE)):
            return False
        return self._happens_to(machine, fault)

    def _happens_to(self, machine: Machine, fault: WorldFault) -> bool:
        match fault:
            case f.Leave():
                self.network.isolate(machine.node)
            case f.Return():
                self.network.rejoin(machine.node)
            case f.Kill():
                machine.kill()
            case f.Restart():
                machine.kill()
                machine.start_later(fault.after_s)
            case LoseDisk():
                machine.lose_disk()
                machine.start_later(fault.after_s)
            case Bury():
                machine.kill()
                machine.buried = True
            case KillAtWrite():
                if machine.store is not None:
                    machine.store.arm(fault.writes)
                    machine.again_s = fault.after_s
            case BitRot():
                return inner_effects.rot(machine, self.standing(), self.archive, fault.after_s)
            case Poison():
                around = self.network.neighbours_of(machine.node)
                return inner_effects.poison(machine, around, self.archive, fault.number)
            case Flood():
                around = self.network.neighbours_of(machine.node)
                return inner_effects.flood(machine, around, self.archive, fault)
            case Clone():
                return inner_effects.clone(machine, self.machines[fault.at], self.archive)
            case ChangeAddress():
                self.network.renew(machine.node)
            case Misfire():
                if machine.store is not None:
                    machine.store.misfire(fault.writes, machine.misfires)
            case Stall():
                return inner_effects.stall(machine, fault.stall_s)
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
                return False
            case f.FillDisk():
                machine.disk.fill()
            case f.SkewClock():
                machine.offset_s = fault.offset_s
            case CrashTrainer():
                for trainer in machine.trainers:
                    trainer.crash()
                return bool(machine.trainers)
            case StopJob():
                return self._stop(machine)
            case Revoke():
                return self._revoke(machine, self.machines[fault.by], fault.distrust)
        return True

    def _stop(self, machine: Machine) -> bool:
        core = machine.core
        if core is None:
            return False
        known = [a.id for a in self.jobs if a.id in core.jobs.runners]
        try:
            for job in known:
                stop, view = Stop(job, "by its user"), core.jobs.runners[job].view
                if view.standing.may_stop(core.node, view.asker, view.job):
                    core.ledger.publish(stop)
                else:  # the fleet's owner stands there
                    core.ledger.receive(seal(OWNER, stop)[1], b"")
        except StorageError:  # the user sees that the disk is full
            return False
        except Killed:  # at this very write
            return True
        return bool(known)

    def _revoke(self, machine: Machine, by: Machine, distrust: bool) -> bool:
        core = by.core
        if core is None or machine.revoked or by.revoked or by.disk.is_full:
            return False
        stands = () if distrust else tuple(sorted(to_stand(core, machine.node)))
        revocation = Revocation(machine.node, "lost", machine.spec.name, stands)
        try:
            machine.revoked = core.ledger.receive(seal(OWNER, revocation)[1], b"") is not None
        except (StorageError, Killed):
            machine.revoked = by.disk.get(seal(OWNER, revocation)[0]) is not None
        return machine.revoked

    def _change(self, a: NodeId, b: NodeId, change: f.Change) -> bool:
        if "up" in change:
            return self.network.set_cut(a, b, not change["up"], one_direction=True)
        before = params = self.network.params(a, b)
        if "loss" in change:
            loss = float(change["loss"])
            params = dataclasses.replace(params, ask_loss=loss, nudge_loss=loss)
        if "rate_kbit_s" in change:
            params = dataclasses.replace(params, rate_bytes_s=float(change["rate_kbit_s"]) * 125.0)
        if "delay_ms" in change:
            params = dataclasses.replace(params, delay_s=float(change["delay_ms"]) / 1000.0)
        self.network.set(a, b, params, one_direction=True)
        return params != before

    @staticmethod
    def _loop() -> LivesLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, LivesLoop)
        return loop

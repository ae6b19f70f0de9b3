"""Two jobs of one node have blobs in common: what one does not need any more may be all that another has."""

from __future__ import annotations

import asyncio
import random

import numpy as np

from muster.history.point import Point
from muster.job.context import Model, Policy, TrainerLike
from muster.job.models import residuals
from muster.job.runner import JobRunner
from muster.network.trust.signing import TrustStore
from muster.node.api.job_requests import open_job
from muster.node.core import Core
from muster.node.event_log import EventLog
from muster.protocol.ids import BlobId, JobId
from muster.protocol.parts import Recipe, StopRule
from muster.protocol.records import Commit, Job
from muster.simulation.identities import PretendIdentity, PretendVerifier
from muster.simulation.trainers.linear import (
    TASK,
    LinearTrainer,
    facts_of,
    initial_blob,
    layout_of,
    target_of,
)
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.network import SimNetwork
from muster.storage.memory import MemoryStore

LAYOUT = layout_of(400)


def node(disk_limit_bytes: int, tasks: set[str]) -> Core:
    identity, store = PretendIdentity("alone"), MemoryStore(random.Random(1))

    async def open_trainer(task: str) -> TrainerLike:
        facts = facts_of(LAYOUT, 50, True)
        return LinearTrainer(facts, store, target_of(1, 400), 0.01, random.Random(1))

    return Core(
        name="alone", signer=identity, member=identity.member(), trust=TrustStore(PretendVerifier()),
        store=store, link=SimNetwork(random.Random(1)).link(identity.node, "alone"),
        policy=Policy(disk_limit_bytes=disk_limit_bytes), open_trainer=open_trainer,
        installed=tasks.__contains__, battery=lambda: None, log=EventLog(lambda: 0.0),
    )  # fmt: skip


def ask(core: Core, nonce: bytes, rounds: int, blob: BlobId) -> JobId:
    recipe = Recipe(0.1, 10, 4, 0, codec="dense32", down_codec="dense32")
    job = Job(TASK, LAYOUT.fingerprint(), recipe, StopRule(rounds=rounds), 1, 2.0, nonce)
    return open_job(core, job, blob)


async def until_finished(core: Core, job: JobId) -> None:
    while core.jobs.runners[job].state() != "finished":
        await asyncio.sleep(1.0)


async def after_a_job(tasks: set[str] | None = None) -> tuple[Core, JobRunner, list[Point]]:
    """A node with little room that did thirty rounds; points whose parameters it has, and that may go.

    `tasks` are those installed, looked at whenever a job needs one.
    """
    core = node(disk_limit_bytes=40_000, tasks={TASK} if tasks is None else tasks)
    await core.start()
    job = ask(core, b"1", 30, core.store.put_blob(initial_blob(LAYOUT)))
    await until_finished(core, job)
    runner = core.jobs.runners[job]
    held = [p for p in runner.view.graph.points.values() if runner.models.held(p.id) and p.round < 30 - 8]
    assert held
    return core, runner, held


def test_a_job_keeps_what_another_one_began_with() -> None:
    async def main() -> None:
        tasks = {TASK}
        core, _, held = await after_a_job(tasks)
        early = min((p.record for p in held if isinstance(p.record, Commit)), key=lambda r: r.round)
        tasks.clear()  # the new job has to wait: its root is its only head
        second = ask(core, b"2", 5, early.params)
        ask(core, b"3", 5, core.store.put_blob(bytes(60_000)))  # room is needed
        core.context.changes.notify()
        await asyncio.sleep(60)
        assert core.jobs.runners[second].models.held(core.jobs.runners[second].models.known_heads()[0].id)
        await core.close()

    run(main(), until_s=36_000)


def test_a_model_that_waits_for_its_figures_is_kept() -> None:
    """The trainer may be busy for a whole round, and the head that is to be measured be replaced meanwhile
    (seed 675)."""

    async def main() -> None:
        core, runner, held = await after_a_job()
        blobs = [runner.models.blob_of(p.id) for p in held[:2]]  # two that may go
        assert len(set(blobs)) == 2
        waiting, other = blobs
        assert runner.participant is not None
        assert waiting is not None
        assert other is not None
        async with runner.participant.trainer.lock.exclusive():
            measuring = asyncio.create_task(runner.participant.trainer.evaluate(Model(waiting)))
            ask(core, b"2", 5, core.store.put_blob(bytes(60_000)))  # room is needed
            await asyncio.sleep(60)
            assert not core.store.has_blob(other)
        assert (await measuring).examples == 1000
        await core.close()

    run(main(), until_s=36_000)


def test_a_model_that_others_are_being_made_from_is_kept() -> None:
    """A path of deltas may begin far behind the heads, and leads through merges that are far behind them."""

    async def main() -> None:
        tasks = {TASK}
        core, runner, held = await after_a_job(tasks)
        used, other = held[:2]  # two that may go
        tasks.clear()
        with runner.models.using({used.id}):
            ask(core, b"2", 5, core.store.put_blob(bytes(60_000)))  # room is needed
            await asyncio.sleep(60)
            assert not runner.models.held(other.id)
            assert runner.models.held(used.id)
        await core.close()

    run(main(), until_s=36_000)


def test_equal_residuals_of_two_jobs_are_kept_apart() -> None:
    store, left = MemoryStore(random.Random(1)), np.ones(4, np.float32)
    for job in (b"1" * 32, b"2" * 32):
        residuals.keep(store, "up", job, residuals.stage(store, "up", job, left))
    residuals.keep(store, "up", b"1" * 32, None)
    assert residuals.load(store, "up", b"1" * 32) is None
    kept = residuals.load(store, "up", b"2" * 32)
    assert kept is not None
    assert kept.tobytes() == left.tobytes()

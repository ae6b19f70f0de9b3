"""Contributions in whole jobs, in virtual time: the stand-in's loss is quadratic, so the check is exact."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from muster.errors import MusterError
from muster.job.context import ContributionResult, Policy, TrainerLike
from muster.job.runner import JobRunner
from muster.network.trust.signing import TrustStore
from muster.node.api import job_requests as asking
from muster.node.api.contribution_views import contributions, values
from muster.node.core import Core
from muster.node.event_log import EventLog
from muster.protocol.ids import JobId
from muster.protocol.parts import Recipe, StopRule
from muster.protocol.records import Job
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

LAYOUT = layout_of(2000)  # over 1 kB, so that updates are blobs
NAMES = ("ann", "ben", "cas", "dan")
ROUNDS = 5


class Idler(LinearTrainer):
    """Sends updates of zeros."""

    async def train(self, params: Any, *work: Any) -> Any:
        done = await super().train(params, *work)
        done.update["w"][:] = 0.0
        return done


class Faulty(LinearTrainer):
    async def value(self, *work: Any) -> ContributionResult:
        raise MusterError("task_fault", "the loss is not finite")


class Dying(LinearTrainer):
    async def value(self, *work: Any) -> ContributionResult:
        raise ChildProcessError("out of memory")


class Field:
    """Four nodes in a row of links; cas sends zeros, dan pulls away from where the common set wants to go."""

    def __init__(
        self, *, common: bool = True, first: type[LinearTrainer] = LinearTrainer, step_s: float = 0.01
    ) -> None:
        self.common, self.first, self.step_s = common, first, step_s
        self.network = SimNetwork(random.Random(1))
        ids = [PretendIdentity(name).node for name in NAMES]
        for a, b in ((0, 1), (1, 2), (2, 3)):
            self.network.connect(ids[a], ids[b])
        self.cores = [self._core(number) for number in range(len(NAMES))]

    def _core(self, number: int) -> Core:
        identity = PretendIdentity(NAMES[number])
        store = MemoryStore(random.Random(number))
        kind = (self.first, LinearTrainer, Idler, LinearTrainer)[number]
        target = 0.1 * target_of(number, 2000) if number < 3 else np.full(2000, 5.0, np.float32)
        step_s = self.step_s if number == 0 else 0.01

        async def open_trainer(task: str) -> TrainerLike:
            facts = facts_of(LAYOUT, 50, self.common)
            return kind(facts, store, target, step_s, random.Random(number))

        return Core(
            name=identity.name, signer=identity, member=identity.member(),
            trust=TrustStore(PretendVerifier()),
            store=store, link=self.network.link(identity.node, identity.name), policy=Policy(),
            open_trainer=open_trainer, installed=lambda task: True, battery=lambda: None,
            log=EventLog(lambda: 0.0),
        )  # fmt: skip

    async def play(self, codec: str) -> JobId:
        for core in self.cores:
            await core.start()
        await asyncio.sleep(20)
        recipe = Recipe(0.1, 10, 4, 0, codec=codec, down_codec="quant8", server_momentum=0.3)
        start = np.full(2000, 1.0, np.float32)
        plan = Job(TASK, LAYOUT.fingerprint(), recipe, StopRule(rounds=ROUNDS), 2, 2.0, b"n")
        blob = self.cores[0].store.put_blob(initial_blob(LAYOUT)[: -start.nbytes] + start.tobytes())
        job = asking.open_job(self.cores[0], plan, blob)
        while not all(self.runners(job)) or any(r.state() != "finished" for r in self.runners(job)):
            await asyncio.sleep(0.05)
        await asyncio.sleep(30)
        return job

    def runners(self, job: JobId) -> list[JobRunner]:
        return [r for core in self.cores if (r := core.jobs.runners.get(job)) is not None]

    def events(self) -> list[str]:
        return [e.text for e in self.cores[0].log.since(0)]


def on_field(
    main: Callable[[Field, JobId], Awaitable[None] | None], codec: str = "dense32", **how: Any
) -> None:
    async def whole() -> None:
        field = Field(**how)
        job = await field.play(codec)
        done = main(field, job)
        if done is not None:
            await done
        for core in field.cores:
            await core.close()

    run(whole(), until_s=36_000)


@pytest.mark.parametrize("codec", ["dense32", "topk:0.05", "quant4"])
def test_every_round_is_estimated_and_the_sum_is_the_drop(codec: str) -> None:
    def main(field: Field, job: JobId) -> None:
        for core, runner in zip(field.cores, field.runners(job), strict=True):
            head = runner.head()
            check = values(runner, head)
            assert check is not None
            assert (check.rounds, check.valued, check.common) == (ROUNDS, ROUNDS, True)
            assert check.examples == 500
            assert check.predicted == pytest.approx(check.drop, rel=1e-4)
            rows = {c.node: c for c in contributions(core, runner, head)}
            assert rows["cas"].value == 0.0
            assert rows["cas"].value_share == 0.0
            assert rows["ann"].value > 0 > rows["dan"].value  # type: ignore[operator]
            assert sum(abs(c.value_share or 0.0) for c in rows.values()) == pytest.approx(1.0)
            assert all(c.received_bytes > 0 for c in rows.values())

    on_field(main, codec)


def test_values_are_no_part_of_the_history_and_payloads_go_once_they_are_known() -> None:
    def main(field: Field, job: JobId) -> None:
        runner = field.runners(job)[0]
        commits = [p for p in runner.view.graph.points.values() if p.folded]
        assert {p.id for p in commits} == set(runner.view.contributions)
        blobs = {known.record.payload.blob for known in runner.view.updates.values()} - {None}
        assert len(blobs) > ROUNDS
        assert not any(field.cores[0].store.has_blob(blob) for blob in blobs if blob is not None)

    on_field(main)


def test_a_coordinator_that_is_never_idle_estimates_within_its_share() -> None:
    """Its steps take so long that everybody waits for it."""

    def main(field: Field, job: JobId) -> None:
        check = values(field.runners(job)[0], field.runners(job)[0].head())
        assert check is not None
        assert check.valued >= ROUNDS - 1

    on_field(main, step_s=3.0)


def test_without_a_common_set_the_coordinators_own_data_is_used_and_named() -> None:
    def main(field: Field, job: JobId) -> None:
        check = values(field.runners(job)[3], field.runners(job)[3].head())
        assert check is not None
        assert (check.valued, check.common, check.examples) == (ROUNDS, False, 100)

    on_field(main, common=False)


class Robbed(LinearTrainer):
    async def value(self, *work: Any) -> ContributionResult:
        raise KeyError(b"a blob that is gone")


@pytest.mark.parametrize("kind", [Faulty, Dying, Robbed])
def test_a_fault_while_estimating_costs_the_values_and_not_the_job(kind: type[LinearTrainer]) -> None:
    def main(field: Field, job: JobId) -> None:
        runner = field.runners(job)[0]
        head = runner.head()
        assert head is not None
        assert head.round == ROUNDS
        assert runner.error is None
        check = values(runner, head)
        assert check is not None
        assert check.valued == 0
        assert all(c.value is None for c in contributions(field.cores[0], runner, head))
        assert any("cannot be estimated" in text for text in field.events())

    on_field(main, first=kind)

"""A job with two branches and their merge, of three nodes in virtual time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from muster.job.context import Difference, Policy, TrainerLike
from muster.network.trust.signing import TrustStore
from muster.node import catalogue
from muster.node.api import job_requests as asking
from muster.node.core import Core
from muster.node.event_log import EventLog
from muster.node.trainer.messages import RateMessage
from muster.protocol.ids import BlobId, JobId
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
from muster.simulation.virtual.network import SimNetwork
from muster.storage.memory import MemoryStore

LAYOUT = layout_of(40)
ROUNDS = 24
NAMES = ("alpha", "bravo", "carol")  # carol trains nothing


@dataclass
class Trainer:
    task: Any
    closed: bool = False
    blob: BlobId | None = None  # the model that jobs begin with
    rate: RateMessage | Exception = field(default_factory=lambda: RateMessage(0.3))
    width: float = 1.0
    narrowings: list[tuple[BlobId, float]] = field(default_factory=list)  # models, and of which width
    asked: list[tuple[Recipe, float]] = field(default_factory=list)  # for a rate, in so many seconds

    async def find_rate(self, start: BlobId, recipe: Recipe, seconds: float) -> RateMessage:
        self.asked.append((recipe, seconds))
        if isinstance(self.rate, Exception):
            raise self.rate
        return self.rate

    async def take_width(self, width: float) -> None:
        self.width = width

    async def narrowed(self, params: BlobId, width: float, shape: bytes) -> BlobId:
        self.narrowings.append((params, width))
        assert self.blob is not None
        return self.blob

    async def initial(self, seed: int, *start: object) -> BlobId:
        assert self.blob is not None
        return self.blob

    async def frozen(self) -> tuple[bytes, int]:
        return b"", 0

    def begin_own(self, job: bytes) -> None:
        pass

    async def differs(self, fingerprint: bytes) -> Difference:
        return Difference("another version", False)

    async def close(self) -> None:
        self.closed = True


class Catalogue:
    """What `ask` needs of one, with a task of this layout."""

    def __init__(self, layout: Any = LAYOUT) -> None:
        self.trainer = Trainer(facts_of(layout, 50, True))

    async def open(self, task: str) -> Trainer:
        return self.trainer

    async def keep(self, task: str, trainer: Trainer) -> None:
        pass

    borrowed: Any = catalogue.Catalogue.borrowed


def node(number: int, network: SimNetwork) -> Core:
    identity = PretendIdentity(NAMES[number])
    store = MemoryStore(random.Random(number))

    async def open_trainer(task: str) -> TrainerLike:
        facts = facts_of(LAYOUT, 50, True)
        return LinearTrainer(facts, store, target_of(number, 40), 0.01, random.Random(number))

    return Core(
        name=identity.name,
        signer=identity,
        member=identity.member(),
        trust=TrustStore(PretendVerifier()),
        store=store,
        link=network.link(identity.node, identity.name),
        policy=Policy(accept=number < 2),
        open_trainer=open_trainer,
        installed=lambda task: True,
        battery=lambda: None,
        log=EventLog(lambda: 0.0),
    )


class Field:
    """alpha and bravo trained two rounds, were cut apart for some minutes and met again; carol looked on."""

    def __init__(self) -> None:
        self.network = SimNetwork(random.Random(1))
        self.ids = [PretendIdentity(name).node for name in NAMES]
        for a, b in ((0, 1), (1, 2)):
            self.network.connect(self.ids[a], self.ids[b])
        self.alpha, self.bravo, self.carol = self.cores = [node(n, self.network) for n in range(3)]

    async def play(self) -> JobId:
        for core in self.cores:
            await core.start()
        await asyncio.sleep(20)
        recipe = Recipe(0.1, 10, 4, 0, codec="dense32", down_codec="dense32")
        plan = Job(TASK, LAYOUT.fingerprint(), recipe, StopRule(rounds=ROUNDS), 2, 2.0, b"n")
        job = asking.open_job(self.alpha, plan, self.alpha.store.put_blob(initial_blob(LAYOUT)))
        await self.until(lambda: (self.head(self.alpha, job) or 0) >= 2)
        self.network.cut(self.ids[0], self.ids[1])
        await self.until(lambda: self.head(self.alpha, job) >= 5 and self.head(self.bravo, job) >= 5)
        self.network.heal(self.ids[0], self.ids[1])
        await self.until(lambda: all(self.runner(c, job).state() == "finished" for c in self.cores[:2]))
        await asyncio.sleep(60)
        return job

    async def until(self, holds: Any) -> None:
        while not holds():
            await asyncio.sleep(0.05)

    def runner(self, core: Core, job: JobId) -> Any:
        return core.jobs.runners[job]

    def head(self, core: Core, job: JobId) -> int:
        runner = core.jobs.runners.get(job)
        head = runner.head() if runner else None
        return head.round if head else 0

    async def close(self) -> None:
        for core in self.cores:
            await core.close()

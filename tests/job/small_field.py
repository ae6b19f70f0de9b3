"""A few nodes with trainers in virtual time, and jobs that are asked for by record."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import msgspec
import numpy as np

from muster.algorithms.slimming.shape import kept_of
from muster.compression.tensors import unpack
from muster.errors import MusterError
from muster.history.point import Point
from muster.job.context import Model, Policy, TrainerLike
from muster.job.participant.shared_samples import SharedSamples
from muster.job.retirement.retired import JobLimits
from muster.job.runner import JobRunner
from muster.network.trust.signing import TrustStore
from muster.node.api.job_requests import open_job
from muster.node.core import Core
from muster.node.energy.account import EnergyAccount
from muster.node.event_log import EventLog
from muster.protocol.ids import BlobId, JobId, NodeId
from muster.protocol.parts import CLASSES, Metric, Prune, Recipe, StopRule
from muster.protocol.records import Job, Shared
from muster.protocol.vocabulary import CURRENT, Vocabulary
from muster.simulation.identities import PretendIdentity, PretendVerifier
from muster.simulation.trainers.linear import (
    TASK,
    LinearTrainer,
    facts_of,
    initial_blob,
    layout_of,
    target_of,
)
from muster.simulation.virtual.link import SimLink
from muster.simulation.virtual.network import SimNetwork
from muster.storage.memory import MemoryStore
from muster.storage.offload import Offload, inline
from muster.storage.store import Store

LAYOUT = layout_of(40)


class SeedTrainer(LinearTrainer):
    """Can make the model that every job begins with."""

    async def fresh(self, seed: int) -> BlobId | None:
        return self._store.put_blob(initial_blob(LAYOUT))


class SmallField:
    """A mesh of nodes; `kind` is how they train."""

    def __init__(
        self,
        names: str,
        kind: type[LinearTrainer] = LinearTrainer,
        policy: Policy | Mapping[str, Policy] | None = None,
        *,
        common: bool = True,
        limits: JobLimits | None = None,
        faults: Mapping[str, MusterError] | None = None,
        offload: Offload = inline,
        frozen: Mapping[str, bytes] | None = None,
        energy: Mapping[str, EnergyAccount] | None = None,
        wall: Callable[[], float] = lambda: 0.0,
        step_s: float | Mapping[str, float] = 0.01,
        samples: Mapping[str, int] | None = None,
        vocabularies: Mapping[str, Vocabulary] | None = None,
        link_of: Callable[[SimNetwork, NodeId, str, Store], SimLink] | None = None,
    ) -> None:
        """`faults`: what the trainers of some nodes fail with. `frozen`: what each node's task does not
        train. `energy`: of nodes that know what they use. `policy`: of all nodes, or of some by name.
        `wall()`: the clock of all nodes. `samples`: of nodes that have other than 50. `vocabularies`: of
        nodes of another version. `link_of`: makes a node's link."""
        self._link_of = link_of
        self.vocabularies = dict(vocabularies or {})
        self._frozen = frozen or {}
        self._wall, self._step_s, self._samples = wall, step_s, samples or {}
        self._offload = offload
        self._kind, self._policy, self._limits = kind, policy, limits
        self.network, self._common = SimNetwork(random.Random(1)), common
        self._faults, self._energy = faults or {}, energy or {}
        self.stores = {n: MemoryStore(random.Random(n)) for n in names}
        self._numbers = {n: number for number, n in enumerate(names)}
        self.cores = {n: self._node(n) for n in names}
        self._nonces = itertools.count()
        for a, b in itertools.combinations(names, 2):
            self.network.connect(self.cores[a].node, self.cores[b].node)

    def _node(self, name: str) -> Core:
        identity, store, number = PretendIdentity(name), self.stores[name], self._numbers[name]
        make = self._link_of or (lambda network, node, name, store: network.link(node, name))

        async def open_trainer(task: str) -> TrainerLike:
            if name in self._faults:
                raise self._faults[name]
            samples = self._samples.get(name, 50)
            facts = replace(facts_of(LAYOUT, samples, self._common), frozen=self._frozen.get(name, b""))
            step_s = self._step_s if isinstance(self._step_s, float) else self._step_s[name]
            return self._kind(facts, store, target_of(number, 40), step_s, random.Random(number))

        return Core(
            name=name,
            signer=identity,
            member=identity.member(),
            trust=TrustStore(PretendVerifier(), self.vocabularies.get(name, CURRENT)),
            store=store,
            link=make(self.network, identity.node, name, store),
            policy=self._policy_of(name),
            open_trainer=open_trainer,
            installed=lambda task: True,
            battery=lambda: None,
            energy=self._energy.get(name),
            log=EventLog(self._wall, time.gmtime),
            offload=self._offload,
            job_limits=self._limits,
        )

    def _policy_of(self, name: str) -> Policy:
        if isinstance(self._policy, Policy):
            return self._policy
        return (self._policy or {}).get(name, Policy())

    def restart(self, name: str) -> Core:
        """The same node as a new process, not started yet; the one before must be closed."""
        return self._node(name)

    async def start(self) -> None:
        for core in self.cores.values():
            await core.start()
        await asyncio.sleep(20)

    async def close(self) -> None:
        for core in self.cores.values():
            await core.close()

    def ask(
        self,
        asker: str,
        *,
        stop: StopRule | None = None,
        min_nodes: int = 1,
        patience_s: float = 2.0,
        start: bytes = b"",
        average: int = 1,
        codec: str = "dense32",
        metrics: tuple[Metric, ...] = CLASSES,
        offers_frozen: bool = True,
        share: str = "none",
        width: float = 1.0,
        one_shot: int = 0,
        down_codec: str = "dense32",
        share_bytes: int = 0,
        server_momentum: float = 0.0,
        prune: Prune | None = None,
        model: Model | None = None,
        steps: int = 4,
        like: bytes = b"",
    ) -> JobId:
        """A job that begins from `start` or `model`, by default from what the seed gives. `offers_frozen`:
        nodes that lack what the asker's task does not train can have it."""
        core = self.cores[asker]
        recipe = Recipe(
            0.1, 10, steps, 0, codec=codec, down_codec=down_codec, average=average,
            server_momentum=server_momentum,
        )  # fmt: skip
        stop, nonce = stop or StopRule(rounds=3), bytes([next(self._nonces)])
        facts = replace(facts_of(LAYOUT, 50, self._common), frozen=self._frozen.get(asker, b""))
        job = Job(
            TASK, facts.fingerprint, recipe, stop, min_nodes, patience_s, nonce, metrics, share=share,
            width=width, one_shot=one_shot, share_bytes=share_bytes, prune=prune,
            like=like, replay=10 if like else 0,
        )  # fmt: skip
        if facts.frozen and offers_frozen:
            blob, size_bytes = core.store.put_blob(facts.frozen), len(facts.frozen)
            job = msgspec.structs.replace(job, frozen=blob, frozen_bytes=size_bytes)
        if model is not None:
            return open_job(core, job, model.blob, shape=model.shape)
        return open_job(core, job, core.store.put_blob(start or initial_blob(layout_of(kept_of(40, width)))))

    def runner(self, name: str, job: JobId) -> JobRunner:
        return self.cores[name].jobs.runners[job]

    def ready(self, name: str, job: JobId) -> dict[NodeId, Shared]:
        """The shared samples that a node could train on now."""
        return SharedSamples(self.cores[name].context, self.runner(name, job).view).ready()

    def round(self, name: str, job: JobId) -> int:
        """Of the head that a node holds; 0 while it does not know the job."""
        runner = self.cores[name].jobs.runners.get(job)
        head = runner.head() if runner else None
        return head.round if head else 0

    def said(self, name: str) -> list[str]:
        return [event.text for event in self.cores[name].log.since(0)]

    async def until(self, holds: Callable[[], bool], limit_s: float) -> bool:
        """Whether it came to hold within `limit_s`."""
        ends_s = asyncio.get_running_loop().time() + limit_s
        while not holds() and asyncio.get_running_loop().time() < ends_s:
            await asyncio.sleep(0.5)
        return holds()


def commits(field: SmallField, name: str, job: JobId) -> Iterator[Point]:
    """Those that count something, the newest first."""
    runner = field.runner(name, job)
    head = runner.head()
    assert head is not None
    for point in runner.view.graph.ancestors(head.id):
        if point.updates:
            yield point


def model(field: SmallField, name: str, job: JobId) -> np.ndarray:
    """The weights of the head that a node holds."""
    runner = field.runner(name, job)
    head = runner.head()
    assert head is not None
    blob = runner.models.blob_of(head.id)
    assert blob is not None
    return np.asarray(unpack(LAYOUT, field.cores[name].store.read_blob(blob))["w"])

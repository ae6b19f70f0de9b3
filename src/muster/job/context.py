"""What a job needs of its node, passed in: no globals, so that the simulation can pass its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from muster.compression.tensors import Layout
from muster.network.ledger import Ledger
from muster.network.presence import Presence
from muster.records import BlobId, NodeId
from muster.storage.store import Store


class Facts(Protocol):
    """What a trainer says of its task on this node."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def fingerprint(self) -> bytes: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def samples(self) -> int: ...
    @property
    def has_common(self) -> bool: ...


class TrainedLike(Protocol):
    @property
    def steps(self) -> int: ...
    @property
    def examples(self) -> int: ...
    @property
    def loss(self) -> float: ...


class MeasuredLike(Protocol):
    @property
    def examples(self) -> int: ...
    @property
    def correct(self) -> int: ...
    @property
    def loss_sum(self) -> float: ...


class TrainerLike(Protocol):
    """The trainer child as the job sees it: parameters in, update out, progress on the way."""

    async def describe(self) -> Facts: ...

    async def initial(self, seed: int, from_path: Path | None, out: Path) -> None: ...

    async def measure_speed(self, batch: int) -> float: ...

    async def train(
        self,
        params: Path,
        out: Path,
        *,
        steps: int,
        lr: float,
        batch: int,
        momentum: float,
        seed: int,
        progress: Callable[[float], None] | None = None,
    ) -> TrainedLike: ...

    async def evaluate(self, params: Path, which: str, limit: int | None = None) -> MeasuredLike: ...

    async def close(self) -> None: ...


class TransfersLike(Protocol):
    async def fetch(
        self, blob: BlobId, size_bytes: int, *, progress: Callable[[int], None] | None = None, rank: int = 0
    ) -> None: ...

    def progress_age_s(self, blob: BlobId) -> float | None: ...

    def poke(self) -> None: ...


@dataclass(frozen=True)
class Policy:
    accept: bool = True
    tasks: Sequence[str] | None = None  # None: all that are installed
    battery_min: float = 0.0
    disk_limit_bytes: int = 2_000_000_000


class Pulse:
    """Something changed: whoever waits looks again. No queue, nothing to lose."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, timeout_s: float | None = None) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout_s)


@dataclass
class Context:
    """One node, as its jobs see it."""

    node: NodeId
    store: Store
    ledger: Ledger
    transfers: TransfersLike
    presence: Presence
    policy: Policy
    scratch: Path  # for files that the trainer child reads and writes
    open_trainer: Callable[[str], Awaitable[TrainerLike]]
    installed: Callable[[str], bool]
    name_of: Callable[[NodeId], str]
    battery: Callable[[], float | None]
    event: Callable[..., None]  # event(kind, text, job=..., node=...)
    say: Callable[[str, float, bytes, int], None]  # state, progress 0..1, job id, round
    pulse: Pulse = field(default_factory=Pulse)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

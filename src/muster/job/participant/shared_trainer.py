"""Shares one trainer child: one request at a time, and background work yields to every other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeAlias, TypeVar

from muster.job.context import ContributionResult, EvaluationResult, Facts, Model, TrainerLike, Weighted
from muster.protocol.ids import BlobId

T = TypeVar("T")
Computing: TypeAlias = Callable[[], AbstractContextManager[None]]


class TrainerLock:
    """A lock whose holder may be doing background work, which ends when somebody else wants the lock."""

    def __init__(self, computing: Computing = nullcontext) -> None:
        """`computing` is entered while the lock is held."""
        self._lock, self._computing = asyncio.Lock(), computing
        self._background: asyncio.Future[Any] | None = None

    @property
    def free(self) -> bool:
        return not self._lock.locked()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Wait for the lock; background work that holds it is cancelled first, and has to end."""
        if self._background is not None:
            self._background.cancel()
        async with self._lock:
            with self._computing():
                yield

    async def background(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do `work` once the lock is free; None when it was cancelled because somebody wanted the lock."""
        async with self._lock:
            with self._computing():
                doing: asyncio.Future[T] = asyncio.ensure_future(work())
                self._background = doing
                try:
                    await asyncio.wait({doing})
                finally:
                    self._background = None
                    if not doing.done():  # the caller itself is cancelled: its work has to end first
                        doing.cancel()
                        await asyncio.wait({doing})
                    if not doing.cancelled():
                        doing.exception()  # the trainer may die just then: who is cancelled does not ask
                return None if doing.cancelled() else doing.result()


class SharedTrainer:
    """Owns the lock of one trainer child, and the list of models that wait to be evaluated by it."""

    def __init__(self, child: TrainerLike, facts: Facts, computing: Computing = nullcontext) -> None:
        """`computing` is entered while the child computes."""
        self.child, self.facts = child, facts
        self.lock = TrainerLock(computing)
        self.evaluating: list[BlobId] = []  # or waiting for the lock

    async def evaluate(
        self,
        model: Model,
        limit: int | None = None,
        ends: Callable[[EvaluationResult], bool] = lambda measured: False,
    ) -> EvaluationResult:
        """Evaluate a model on `limit` examples of the task's common set, and on all when these say that the
        job `ends`.

        Waits for the lock, perhaps while a whole round is trained.
        """
        self.evaluating.append(model.blob)
        try:
            async with self.lock.exclusive():
                m = await self.child.evaluate(model, "common", limit)
                if limit is not None and ends(m):
                    m = await self.child.evaluate(model, "common")
                return m
        finally:
            self.evaluating.remove(model.blob)

    async def value(
        self,
        base: Model,
        updates: Sequence[Weighted],
        which: str,
        limit: int,
        *,
        background: bool,
    ) -> tuple[float, ContributionResult] | None:
        """The seconds that it took, and what updates were worth on top of `base`.

        None when it was background work and was cancelled for something else.
        """

        async def work() -> tuple[float, ContributionResult]:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            valued = await self.child.value(base, updates, which, limit)
            return loop.time() - began_s, valued

        if background:
            return await self.lock.background(work)
        async with self.lock.exclusive():
            return await work()

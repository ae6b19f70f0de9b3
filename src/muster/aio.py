"""`muster.train` and `muster.follow` for an event loop, which goes on meanwhile.

    from muster import aio

    async for round in aio.follow(job):
        print(round.number, round.metrics)

Cancelling ends the following only; the job goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from muster.api import Callback, Result, Telling, check_failed, result
from muster.cli.commands.train import beginning
from muster.node.api import async_client
from muster.node.api.client import TRAIN_TIMEOUT_S, choose
from muster.node.api.rounds.schema import Round
from muster.node.api.rounds.stream import AWAY_S, Reader, follow_async, listening
from muster.node.api.snapshot import NodeEvent

__all__ = ["follow", "train"]


async def train(
    task: str,
    *,
    start: str | os.PathLike[str] | None = None,
    node: str | None = None,
    away_s: float | None = AWAY_S,
    on_event: Callable[[NodeEvent], None] | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Result:
    """As `muster.train`; callbacks are called on the event loop. For a time limit use `asyncio.timeout`."""
    client = await asyncio.to_thread(choose, node)
    if start is not None:
        options["from"] = beginning(os.fspath(start))
    seen: list[int] = []  # numbers of events

    def on_early(event: NodeEvent) -> None:
        seen.append(event.number)
        if on_event is not None:
            on_event(event)

    since = (await asyncio.to_thread(client.snapshot)).event
    async with listening(client, since, [], on_early):
        given = {key: value for key, value in options.items() if value is not None}
        job = str((await async_client.ask(client.home, "train", TRAIN_TIMEOUT_S, task=task, **given))["job"])
    tell = Telling(callbacks)
    if callbacks:
        tell.begin((await asyncio.to_thread(result, job, client=client)).view)
    async with contextlib.aclosing(
        follow_async(client, Reader(job), away_s=away_s, on_event=on_event)
    ) as found:
        async for batch in found:
            if tell.rounds(batch.rounds):
                await async_client.ask(client.home, "stop", client.timeout_s, job=job, reason="by a callback")
            check_failed(batch.job)
    made = await asyncio.to_thread(result, job, client=client)
    tell.end(made)
    return made


async def follow(
    job: str, *, node: str | None = None, after: int = 0, away_s: float | None = AWAY_S
) -> AsyncGenerator[Round, None]:
    """As `muster.follow`. For a time limit use `asyncio.timeout`."""
    client = await asyncio.to_thread(choose, node)
    reader = Reader(job, number=after)
    async with contextlib.aclosing(follow_async(client, reader, away_s=away_s)) as found:
        async for batch in found:
            for r in batch.rounds:
                yield r
            check_failed(batch.job)

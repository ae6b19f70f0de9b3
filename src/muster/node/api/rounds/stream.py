"""Follows the rounds of a job at a node: state, not messages.

A reader says which round it has and gets those after it, so that a break of the connection, a node that ends
and comes back, and a reader that was not there for a week are the same case.  The node's events only say when
to ask again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

from muster.errors import MusterError
from muster.node.api import async_client
from muster.node.api.client import Client, typed
from muster.node.api.rounds.schema import Round, Rounds
from muster.node.api.snapshot import NodeEvent

POLL_S = 0.5  # figures come without an event
RETRY_S = 0.5  # while the node is away
GRACE_S = 5.0  # after the end, for figures of the last round
AWAY_S = 300.0
REQUEST_S = 30.0
ASK_AT = ("commit", "merge", "end")  # kinds of events
AWAY = ("no_node", "timeout")  # errors that may pass

OnEvent = Callable[[NodeEvent], None]


@dataclass
class Reader:
    """Which rounds of `job` somebody has: all up to `commit`, which is of round `number`."""

    job: str
    commit: str = ""
    number: int = 0
    done: bool = False  # the job is over, and every round was taken
    _over_s: float | None = field(default=None, repr=False)  # when that was first seen

    def take(self, answer: Rounds, now_s: float, *, once: bool = False) -> list[Round]:
        """The rounds of an answer that are due: settled ones, and after the job's end all, soon.

        `once`: nothing is waited for.
        """
        if not answer.over:
            self._over_s = None
        elif self._over_s is None:
            self._over_s = now_s
        waited = self._over_s is not None and (once or now_s - self._over_s >= GRACE_S)
        due = answer.rounds
        if not waited:
            first = next((i for i, r in enumerate(due) if not r.settled), len(due))
            due = due[:first]
        if due:
            self.commit, self.number = due[-1].commit, due[-1].number
        left = answer.more or len(due) < len(answer.rounds)
        self.done = not answer.more and (once or (answer.over and not left) or answer.state == "failed")
        return due


@dataclass
class Batch:
    """What one look at the node gave `reader`: the job, and the rounds that are due, perhaps none."""

    reader: Reader
    job: Rounds
    rounds: list[Round]
    before: tuple[str, int] = ("", 0)  # commit and number of the round that the reader had


class _Patience:
    """How long the node may be away: `limit_s` in one piece, once it was there. None: for ever."""

    def __init__(
        self,
        limit_s: float | None,
        tell: Callable[[MusterError], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_s, self._tell, self._clock = limit_s, tell, clock
        self._seen = False
        self._since_s: float | None = None

    def here(self) -> None:
        self._seen, self._since_s = True, None

    def away(self, error: MusterError) -> None:
        """Raises the error when it cannot pass, or lasts too long."""
        may_pass = error.code in AWAY or error.code == "unknown_job"  # it lost its disk, and learns it again
        if not self._seen or not may_pass:
            raise error
        now_s = self._clock()
        if self._since_s is None:
            self._since_s = now_s
            if self._tell is not None:
                self._tell(error)
        if self._limit_s is not None and now_s - self._since_s >= self._limit_s:
            raise error


def _concerns(event: NodeEvent, readers: Sequence[Reader]) -> bool:
    return not event.job or any(event.job.startswith(reader.job) for reader in readers)


def follow(
    client: Client,
    readers: Sequence[Reader],
    *,
    once: bool = False,
    away_s: float | None = AWAY_S,
    timeout_s: float | None = None,
    since: int | None = None,
    on_event: OnEvent | None = None,
    on_away: Callable[[MusterError], None] | None = None,
) -> Generator[Batch, None, None]:
    """Batches as they come, until all readers have every round of jobs that are over (`once`: until they have
    what there is). A batch without rounds comes first, and whenever the node was looked at in vain.

    `on_event` gets what the node logs: all after event `since`, or from now on.  `on_away(error)` is called
    when the node is found away.  Raises MusterError: no_node when it is that for longer than `away_s`,
    timeout, unknown_job.
    """
    patience, began_s = _Patience(away_s, on_away), time.monotonic()
    while True:
        try:
            for batch in _look(client, readers, once):
                patience.here()
                event = batch.job.event if since is None else since
                yield batch
            if _done(readers) and on_event is None:
                return
            with contextlib.closing(client.events(event, pause_s=POLL_S)) as events:
                for news in events:
                    since = None  # a node that was started again begins its numbers again
                    if news is not None and on_event is not None and _concerns(news, readers):
                        on_event(news)
                    if news is None or news.kind in ASK_AT:
                        yield from _look(client, readers, once)
                        if _done(readers) and (news is None or on_event is None):
                            return  # and what was logged before was passed on
                        _check_time(readers, began_s, timeout_s)
        except MusterError as error:
            if _done(readers):
                return
            patience.away(error)
            _check_time(readers, began_s, timeout_s)
            time.sleep(RETRY_S)


def _done(readers: Sequence[Reader]) -> bool:
    return all(reader.done for reader in readers)


def _look(client: Client, readers: Sequence[Reader], once: bool) -> Iterator[Batch]:
    for reader in readers:
        while not reader.done:
            before = reader.commit, reader.number
            answer = client.rounds(reader.job, *before)
            yield Batch(reader, answer, reader.take(answer, time.monotonic(), once=once), before)
            if not answer.more or reader.commit == before[0]:
                break


def _check_time(readers: Sequence[Reader], began_s: float, timeout_s: float | None) -> None:
    if timeout_s is not None and time.monotonic() - began_s >= timeout_s and not _done(readers):
        job = readers[0].job[:8]
        raise MusterError(
            "timeout",
            f"job {job} did not end within {timeout_s:g} s and goes on: end it with 'muster stop {job}'",
        )


async def follow_async(
    client: Client,
    reader: Reader,
    *,
    away_s: float | None = AWAY_S,
    since: int | None = None,
    on_event: OnEvent | None = None,
) -> AsyncGenerator[Batch, None]:
    """As `follow`, for one reader on an event loop."""
    loop = asyncio.get_running_loop()
    patience = _Patience(away_s, clock=loop.time)
    while True:
        try:
            batch = await _ask(client, reader, loop.time())
            patience.here()
            yield batch
            if reader.done and on_event is None:
                return
            event, since = batch.job.event if since is None else since, None
            async with listening(client, event, [reader], on_event) as news:
                while not reader.done and not news.broken:
                    if not (batch.job.more and batch.rounds):
                        await news.wait()
                    batch = await _ask(client, reader, loop.time())
                    yield batch
                if reader.done and on_event is not None:
                    await news.end()
            if reader.done:
                return
        except MusterError as error:
            patience.away(error)
        await asyncio.sleep(RETRY_S)


async def _ask(client: Client, reader: Reader, now_s: float) -> Batch:
    before = reader.commit, reader.number
    asked = {"job": reader.job, "after": before[0], "number": before[1]}
    answer = typed(await async_client.ask(client.home, "rounds", REQUEST_S, **asked), Rounds)
    return Batch(reader, answer, reader.take(answer, now_s), before)


class _News:
    """Says when to ask again."""

    def __init__(self) -> None:
        self.broken = False
        self.heard = 0  # events
        self._come = asyncio.Event()

    def tell(self) -> None:
        self._come.set()

    async def end(self) -> None:
        """Wait until nothing more is logged."""
        before = -1
        while before != self.heard and not self.broken:
            before = self.heard
            await asyncio.sleep(POLL_S)

    async def wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._come.wait()
        self._come.clear()


@contextlib.asynccontextmanager
async def listening(
    client: Client, since: int, readers: Sequence[Reader], on_event: OnEvent | None
) -> AsyncIterator[_News]:
    """The node's events after number `since` in the background: of the readers' jobs, and those of no job."""
    news, failed = _News(), list[BaseException]()

    async def listen() -> None:
        try:
            async for event in async_client.follow_events(client.home, since):
                news.heard += 1
                if on_event is not None and _concerns(event, readers):
                    on_event(event)
                if event.kind in ASK_AT:
                    news.tell()
        except (OSError, EOFError, MusterError, ValueError):
            pass  # the next question says what is wrong
        except Exception as error:  # of whoever listens
            failed.append(error)
        news.broken = True
        news.tell()

    task = asyncio.create_task(listen())
    try:
        yield news
        if failed:
            raise failed[0]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

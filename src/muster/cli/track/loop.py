"""Writes the rounds of a job to several targets; one that fails is tried again, the others go on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from muster.cli.track.target import Target
from muster.errors import MusterError
from muster.node.api.client import Client
from muster.node.api.rounds.schema import Rounds
from muster.node.api.rounds.stream import Batch, Reader, follow

RETRY_S, RETRY_MAX_S = 1.0, 60.0  # of a target that failed


@dataclass
class Tracked:
    """A target, and how far it is."""

    name: str
    target: Target
    reader: Reader
    written: int = 0  # rounds, by this run of the command
    failures: int = 0  # in a row
    next_s: float = 0.0  # when it is tried again


def track(
    client: Client,
    job: str,
    targets: list[tuple[str, Target]],
    *,
    once: bool,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Rounds, list[Tracked]]:
    """Write every round to every target, until the job ends (`once`: those that there are).

    `say(sentence)` tells of what passes by itself.  Raises MusterError.
    """
    seen = client.rounds(job)
    tracked: list[Tracked] = []

    def close(target: Target) -> None:
        target.close(seen)

    with contextlib.ExitStack() as stack:
        for name, target in targets:
            stack.callback(close, target)
            tracked.append(Tracked(name, target, Reader(seen.job, *target.resume(seen))))
        by_reader = {id(t.reader): t for t in tracked}
        for batch in follow(
            client,
            [t.reader for t in tracked],
            once=once,
            away_s=0.0 if once else None,
            on_away=None if once else lambda error: say(f"{error.sentence}; waits for it"),
        ):
            seen = batch.job
            _write(by_reader[id(batch.reader)], batch, once, say, clock)
    if seen.state == "failed":
        raise MusterError("failed", f"job {seen.job[:8]} ended without a model: {seen.error or seen.why}")
    return seen, tracked


def _write(
    t: Tracked, batch: Batch, once: bool, say: Callable[[str], None], clock: Callable[[], float]
) -> None:
    """Write what came; the reader is set back to what the target holds if it fails."""
    rounds = batch.rounds
    last = batch.before
    try:
        if rounds and clock() < t.next_s:
            raise _Later
        for r in rounds:
            t.target.write(batch.job, r)
            t.written += 1
            last = r.commit, r.number
        if rounds and t.failures:
            say(f"{t.name} is written again")
        t.failures = 0 if rounds else t.failures
    except (MusterError, _Later) as error:
        t.reader.commit, t.reader.number = last
        t.reader.done = False
        if isinstance(error, MusterError):
            if once:
                raise
            if not t.failures:
                say(f"{error.sentence}; tries again")
            t.next_s = clock() + min(RETRY_MAX_S, RETRY_S * 2**t.failures)
            t.failures = min(t.failures + 1, 16)


class _Later(Exception):
    """A target failed a moment ago."""

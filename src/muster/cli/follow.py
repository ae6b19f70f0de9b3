"""Follows a job through a node's event stream until it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from muster.cli.output import headline, span
from muster.cli.spending import so_far
from muster.errors import MusterError
from muster.node.api.client import Client
from muster.node.api.snapshot import JobSnapshot, NodeEvent

T = TypeVar("T")

POLL_S = 0.5
PATIENCE_S = 0.5  # for an answer before events are shown
PAUSE_S = 0.1  # so long without an event: all that there are have come
ENDED = ("finished", "stopped", "failed")


def ask(
    client: Client,
    task: str,
    options: Mapping[str, Any],
    since: int,
    on_event: Callable[[NodeEvent], None] | None = None,
) -> tuple[str, int]:
    """The id of a new job, and the number of the last event that `on_event` got meanwhile."""
    return waiting(client, lambda: client.train(task, **options), since, on_event)


def waiting(
    client: Client,
    request: Callable[[], T],
    since: int,
    on_event: Callable[[NodeEvent], None] | None = None,
) -> tuple[T, int]:
    """The answer to a request of `client`, and the number of the last event that `on_event` got meanwhile.

    The node starts a trainer first, which may take a minute: its events come in between.  Raises MusterError.
    """
    answer: list[T] = []
    failed: list[BaseException] = []

    def asking() -> None:
        try:
            answer.append(request())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=asking, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if thread.is_alive():
        for event in client.events(since, pause_s=PAUSE_S):
            if not thread.is_alive():
                break
            if event is not None:
                since = event.number
                if on_event is not None and not event.job:
                    on_event(event)
    thread.join()
    if failed:
        raise failed[0]
    return answer[0], since


def follow(
    client: Client,
    job: str,
    since: int,
    *,
    quiet: bool = False,
    timeout_s: float | None = None,
    on_event: Callable[[NodeEvent], None] | None = None,
) -> JobSnapshot:
    """The job's last state, once it has ended; prints events and rounds until then unless `quiet`.

    Raises MusterError timeout (the job goes on), failed, no_node.
    """
    started_s = time.monotonic()  # of this command, not of the job
    looked_s, shown_round = -POLL_S, 0
    ended: JobSnapshot | None = None
    for event in client.events(since, pause_s=PAUSE_S):
        now_s = time.monotonic() - started_s
        if event is not None and event.job in ("", job):
            if on_event is not None:
                on_event(event)
            if not quiet:
                click.echo(f"{span(now_s):>8}  {event.text}")
        if ended is not None:  # what happened before is still printed
            if event is None or (event.kind == "end" and event.job == job):
                return ended
            continue
        if now_s - looked_s < POLL_S and (event is None or event.kind not in ("commit", "end")):
            continue
        looked_s = now_s
        view = find(client, job)
        if view.round > shown_round:
            shown_round = view.round
            if not quiet:
                click.echo(round_line(view))
        if view.state == "failed":
            raise MusterError("failed", f"job {job[:8]} ended without a model: {view.error or view.why}")
        if view.state in ENDED:
            ended = view
            if event is None or (event.kind == "end" and event.job == job):
                return ended
            continue
        if timeout_s is not None and now_s >= timeout_s:
            raise MusterError(
                "timeout",
                f"job {job[:8]} did not end within {timeout_s:g} s and goes on: end it with "
                f"'muster stop {job[:8]}'",
            )
    raise MusterError("no_node", f"the node in {client.home} ended: start it again, the job continues")


def find(client: Client, job: str) -> JobSnapshot:
    """The job's view in a fresh snapshot."""
    for view in client.snapshot().jobs:
        if view.id.startswith(job):
            return view
    raise MusterError("unknown_job", f"the node in {client.home} does not know job {job[:8]} any more")


def round_line(view: JobSnapshot) -> str:
    """One line for a round that was committed."""
    limit = view.stop.get("rounds")
    of = f"/{limit:.0f}" if limit else ""
    return f"{span(view.age_s):>8}  round {view.round}{of}: {headline(view)}, {so_far(view)}"

"""What people see of models in use: this node's by its files, those of others by their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from msgspec.structs import replace

from muster.adaptation.likeness import alike
from muster.network.sync.ledger import Entry
from muster.node.api.field_view import FieldView, ServerView
from muster.node.core import Core
from muster.node.field.steps import Wait
from muster.node.field.task_loop import Seen, TaskLoop
from muster.protocol.ids import NodeId, short
from muster.protocol.records import Need, Use
from muster.serving.report import ServerReport

HEARD_MAX = 1024


class Heard:
    """When records of use came, by which "in use for 40 s" goes on counting."""

    def __init__(self, core: Core, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at: dict[tuple[NodeId, int], float] = {}
        core.ledger.listeners.append(self._on_record)

    def _on_record(self, entry: Entry) -> None:
        if isinstance(entry.record, Use):
            self._at[entry.author, entry.record.number] = self._clock()
            while len(self._at) > HEARD_MAX:
                del self._at[next(iter(self._at))]

    def used_s(self, node: NodeId, use: Use) -> float | None:
        """How long a model has been in use; None: that was said before this process began."""
        at = self._at.get((node, use.number))
        return None if at is None else self._clock() - at + use.age_s


def views(core: Core, loops: Mapping[str, TaskLoop], heard: Heard) -> list[FieldView]:
    """By task on this node, then on others by name."""
    own = [(core.node, _own(core, loop)) for _, loop in sorted(loops.items())]
    tasks = sorted({*loops, *core.field.tasks()})
    others = [
        (node, _other(core, node, use, heard))
        for task in tasks
        for node, use in sorted(core.field.uses(task).items(), key=lambda item: core.trust.name(item[0]))
        if node != core.node and core.trust.knows(node)
    ]
    return [replace(view, alike=_alike(core, node, view.task)) for node, view in own + others]


def _alike(core: Core, node: NodeId, task: str) -> list[str]:
    """Other nodes to which the same happened, as long as it is so there and here."""
    own = core.field.need(node, task)
    if own is None or own.over:
        return []
    return sorted(
        core.trust.name(other)
        for other, need in core.field.needs(task).items()
        if other != node and not need.over and _near(own.sketch, need.sketch)
    )


@lru_cache(maxsize=4096)
def _near(one: bytes, other: bytes) -> bool:
    """`alike`, remembered: the page asks four times a second."""
    return alike(one, other)


def _need(need: Need | None) -> str:
    return "" if need is None else "met" if need.over else "open"


def _own(core: Core, loop: TaskLoop) -> FieldView:
    field, seen = loop.field, loop.seen
    step = seen.step if seen is not None else Wait()
    empty = FieldView(
        core.node.hex(), core.trust.name(core.node), field.task, True, None, "", "", None, None, 0, 0, 0, 0,
        0, None, None, 0, _need(core.field.need(core.node, field.task)), [],
        step.why if isinstance(step, Wait) else "", None, None,
    )  # fmt: skip
    return empty if seen is None else _seen(empty, seen, field.clock())


def _seen(empty: FieldView, seen: Seen, now_s: float) -> FieldView:
    s, step, made = seen.situation, seen.step, seen.found.made
    running = [job for job in s.jobs if not job.over]
    shown = replace(
        empty,
        epoch=s.labels.epoch,
        labels=s.labels.labelled,
        labels_wanted=step.labels if isinstance(step, Wait) else 0,
        job=running[-1].job.hex() if running else None,
        server=_server(seen.found.report),
    )
    if s.in_use is None:
        return shown
    return replace(
        shown,
        version=s.in_use.version,
        commit=s.in_use.commit.hex(),
        reason=s.in_use.reason,
        used_s=max(0.0, now_s - s.in_use.since_s),
        former=s.in_use.former,
        live_labels=s.live.labels,
        live_right=s.live.right,
        held_labels=made.held if made is not None else 0,
        wins=made.wins if made is not None else 0,
        losses=made.losses if made is not None else 0,
    )


def _server(report: ServerReport | None) -> ServerView | None:
    if report is None:
        return None
    return ServerView(
        report.url, report.requests, report.failures, report.refused, report.rps, report.p99_ms,
        report.memory_mb, report.kept, report.fault or report.keeping,
    )  # fmt: skip


def _other(core: Core, node: NodeId, use: Use, heard: Heard) -> FieldView:
    need = core.field.need(node, use.task)
    return FieldView(
        id=node.hex(),
        node=core.trust.name(node),
        task=use.task,
        me=False,
        version=short(use.commit) if use.commit else "own",
        commit=use.commit.hex(),
        reason=use.reason,
        used_s=heard.used_s(node, use),
        former=short(use.former) if use.former else None,
        live_labels=use.live_n,
        live_right=use.live_right,
        held_labels=use.held_n,
        wins=use.wins,
        losses=use.losses,
        epoch=need.epoch if need is not None else None,
        labels=need.labels if need is not None else None,
        labels_wanted=0,
        need=_need(need),
        alike=[],
        waits="",
        job=None,
        server=None,
    )

"""Single commits: finds one by the beginning of its id, shows it, compares two, fetches its parameters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from muster.errors import MusterError
from muster.history.counted import Key
from muster.history.credit import credits
from muster.history.point import Point
from muster.job.contribution_totals import values_of
from muster.job.models.stored import WrongModel
from muster.job.runner import JobRunner
from muster.node.api.commit_detail import (
    CommitDetail,
    CountedView,
    DiffView,
    DiscardedView,
    ForecastView,
    MovedView,
    RoundWhyView,
    WhyAnswer,
    WhyView,
)
from muster.node.api.snapshot_builder import commit_view
from muster.node.core import Core
from muster.planning.forecast_errors import forecast_errors, sentence
from muster.protocol.ids import NodeId, short
from muster.protocol.parts import Discarded, Folded, Payload
from muster.protocol.records import Commit, Merge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from muster.algorithms.slimming.form import Form

PREFIX_MIN = 4  # hex digits
FETCH_LOOK_S = 1.0


def is_prefix(text: str) -> bool:
    """Whether a text can be the beginning of an id."""
    return PREFIX_MIN <= len(text) <= 64 and all(c in "0123456789abcdef" for c in text.lower())


async def find_commit(core: Core, prefix: str) -> tuple[JobRunner, Point]:
    """The one commit, of any job, whose id begins with `prefix`. Raises MusterError."""
    if not is_prefix(prefix):
        raise MusterError(
            "usage",
            f"{prefix!r} is no commit: give {PREFIX_MIN} or more of the hex digits that `muster log` shows",
        )
    await _load_job_of(core, prefix)
    found = [
        (runner, point)
        for runner in core.jobs.runners.values()
        for point in runner.view.graph.points.values()
        if point.id.hex().startswith(prefix.lower())
    ]
    if not found:
        raise MusterError(
            "unknown_commit", f"no commit here begins with {prefix!r}: `muster log JOB` lists them"
        )
    if len(found) > 1:
        names = ", ".join(point.id.hex()[:12] for _, point in found[:8])
        raise MusterError("unknown_commit", f"{prefix!r} fits several commits ({names}): give more digits")
    return found[0]


async def _load_job_of(core: Core, prefix: str) -> None:
    """Have the job of a commit in memory; it may be in the store only."""
    for record in core.store.find(bytes.fromhex(prefix[: len(prefix) // 2 * 2])):
        stored = core.store.get(record) if record.hex().startswith(prefix.lower()) else None
        if stored is not None and stored.kind in (Commit.KIND, Merge.KIND):
            with contextlib.suppress(KeyError):
                await core.jobs.load(stored.job)


async def show(core: Core, prefix: str) -> CommitDetail:
    """Everything that a commit says. Raises MusterError."""
    runner, point = await find_commit(core, prefix)
    view, record = runner.view, point.record
    figures = view.figures(point.id)
    blob = runner.models.blob_of(point.id)
    form = runner.models.form_of(point.id)
    worths = values_of(view, point) or (None,) * point.updates
    discarded: tuple[Discarded, ...] = ()
    delta: Payload | None = None
    residual_norm = 0.0
    params_bytes = form.layout.blob_bytes if form else 0
    if isinstance(record, Commit):
        discarded, delta, residual_norm = record.discarded, record.delta, record.residual_norm
        params_bytes = record.params_bytes
    name = core.trust.name
    return CommitDetail(
        job=view.id.hex(),
        task=view.job.task,
        commit=commit_view(core, runner, point),
        children=sorted(child.hex() for child in view.graph.children.get(point.id, ())),
        head=any(head.id == point.id for head in runner.models.heads()),
        counted=[
            _counted(core, f, nodes, worth) for (f, nodes), worth in zip(credits(point), worths, strict=True)
        ],
        counted_in_all=len(point.counted),
        discarded=[DiscardedView(name(d.node), d.incarnation, d.sequence, d.reason) for d in discarded],
        roster=[name(node) for node in point.roster],
        examples=figures.examples if figures else 0,
        params=blob.hex() if blob else None,
        params_bytes=params_bytes,
        delta_bytes=delta.size_bytes if delta else None,
        delta_codec=delta.codec if delta else None,
        residual_norm=residual_norm,
    )


def why(core: Core, runner: JobRunner) -> WhyAnswer:
    """Forecasts beside outcomes of the rounds that this node coordinated, oldest first."""
    from muster.job.coordinator.forecasts import EVERYBODY, ROUNDS_KEPT, load

    head = runner.head()
    last = head.round + 1 if head else 0
    rows = [
        (round_, row)
        for round_ in range(max(1, last - ROUNDS_KEPT), last + 1)
        for row in load(core.store, runner.view.id, round_)
    ]
    messages = [
        WhyView(
            round_, "" if row.node == EVERYBODY else core.trust.name(row.node), row.codec, row.why,
            row.size_bytes, row.was_bytes, row.seconds, row.was_s, row.residual_ratio,
            row.was_residual_ratio, row.steps, row.joules, row.was_joules,
        )
        for round_, row in rows
    ]  # fmt: skip
    rounds = [
        RoundWhyView(
            round_, row.plan, row.seconds or 0.0, row.was_s, row.all_bytes, row.was_all_bytes, row.joules,
            row.was_joules,
        )
        for round_, row in rows
        if row.node == EVERYBODY
    ]  # fmt: skip
    found = forecast_errors((r.seconds_forecast, r.seconds) for r in rounds)
    errors = None if found is None else ForecastView(**asdict(found), sentence=sentence(found))
    return WhyAnswer(messages, rounds, errors)


async def diff(core: Core, prefix_a: str, prefix_b: str) -> DiffView:
    """Two commits of one model, beside each other. Raises MusterError; both must be held here."""
    (runner_a, a), (runner_b, b) = await find_commit(core, prefix_a), await find_commit(core, prefix_b)
    same = runner_a is runner_b
    for runner, point in ((runner_a, a), (runner_b, b)):
        if not runner.models.held(point.id) or runner.models.form_of(point.id) is None:
            raise MusterError(
                "no_result",
                f"this node does not hold the parameters of {short(point.id)}: ask a node that does "
                "(`muster show` says whether)",
            )
    form_a, form_b = runner_a.models.form_of(a.id), runner_b.models.form_of(b.id)
    assert form_a is not None
    assert form_b is not None
    read_a, read_b = runner_a.models.reader(a.id), runner_b.models.reader(b.id)
    compute = core.context.compute(form_a.layout.size_bytes)
    pruned = form_a.pruned or form_b.pruned
    if not pruned and form_a.layout == form_b.layout:
        moved = await compute(_layers, read_a, read_b)
    elif (both := form_a.common(form_b)) is not None:
        moved = await compute(_layers_of, both, read_a, form_a, read_b, form_b)
    else:
        why = "have no channels in common: compare both with one from before they were pruned"
        why = why if pruned and same else "are not of one model: compare commits of one job"
        raise MusterError("fingerprint", f"{short(a.id)} and {short(b.id)} {why}")
    return DiffView(
        a=commit_view(core, runner_a, a),
        b=commit_view(core, runner_b, b),
        same_job=same,
        only_a=only(core, runner_a, a, b if same else None),
        only_b=only(core, runner_b, b, a if same else None),
        layers=moved,
        pruned=pruned and form_a.shape != form_b.shape,
    )


def only(core: Core, runner: JobRunner, point: Point, other: Point | None) -> list[CountedView]:
    """Updates that the history of `point` counts and that of `other` does not, in key order."""
    found: dict[Key, tuple[Folded, tuple[NodeId, ...]]] = {}
    for before in runner.view.graph.ancestors(point.id):
        for f, nodes in credits(before):
            key = Key(f.node, f.incarnation, f.sequence)
            if other is None or key not in other.counted:
                found[key] = f, nodes
    return [_counted(core, *found[key]) for key in sorted(found)]


def _layers(
    a: Callable[[], Mapping[str, NDArray[Any]]], b: Callable[[], Mapping[str, NDArray[Any]]]
) -> list[MovedView]:
    return layers(a(), b())


def _layers_of(
    both: Form, a: Callable[[], Mapping[str, NDArray[Any]]], form_a: Form,
    b: Callable[[], Mapping[str, NDArray[Any]]], form_b: Form,
) -> list[MovedView]:  # fmt: skip
    return layers(both.params(a(), form_a), both.params(b(), form_b))


def layers(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> list[MovedView]:
    """Tensor by tensor, in the model's order; computed in fp64."""
    import numpy as np

    found = []
    for name, old in a.items():
        before = old.astype(np.float64)
        change = b[name].astype(np.float64) - before
        largest = float(np.abs(change).max()) if change.size else 0.0
        found.append(
            MovedView(
                name,
                list(old.shape),
                float(np.linalg.norm(before)),
                float(np.linalg.norm(change)),
                largest,
            )
        )
    return found


async def bring(core: Core, runner: JobRunner, point: Point, patience_s: float) -> None:
    """Hold a commit's parameters, fetched from a neighbour when they are not here.

    Gives up when nothing came for `patience_s`. Raises MusterError.
    """
    try:
        await within_patience(
            core,
            runner.fetcher.ensure(point.id),
            patience_s,
            f"the parameters of {short(point.id)} are neither here nor with anybody in reach: "
            "try again when a node is near that holds them, or choose another commit",
        )
    except (WrongModel, KeyError) as error:
        raise MusterError(
            "no_result", f"the parameters of {short(point.id)} cannot be rebuilt here: {error}"
        ) from error


async def within_patience(
    core: Core, fetch: Coroutine[Any, Any, None], patience_s: float, in_vain: str
) -> None:
    """Wait for a fetch. Raises MusterError("no_result", `in_vain`) when nothing came for `patience_s`."""
    getting = asyncio.ensure_future(fetch)
    try:
        quiet_s, before = 0.0, _bytes_coming(core)
        while not (await asyncio.wait({getting}, timeout=FETCH_LOOK_S))[0]:
            now = _bytes_coming(core)
            quiet_s = 0.0 if now != before else quiet_s + FETCH_LOOK_S
            before = now
            if quiet_s >= patience_s:
                raise MusterError("no_result", in_vain)
        getting.result()
    finally:
        getting.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await getting


def _bytes_coming(core: Core) -> list[tuple[bytes, int]]:
    return [(s.blob, s.held_bytes) for s in core.transfers.statuses()]


def _counted(core: Core, f: Folded, nodes: tuple[NodeId, ...], worth: float | None = None) -> CountedView:
    name = core.trust.name
    others = [] if nodes == (f.node,) else [name(n) for n in nodes]
    return CountedView(
        name(f.node), f.incarnation, f.sequence, f.steps, f.examples, f.staleness, f.weight, worth, others
    )

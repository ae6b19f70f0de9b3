"""Says what is wrong with a record, by its own fields alone.

`validate` is pure.  What passes it makes no reader of the record fail, on this node or another; that is what
tests/protocol/test_mutations.py holds.  What a record has to have in common with its parent is checked where
the parent is known (`history/succession.py`).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

from muster.protocol.parts import Assignment, Power, Recipe, StopRule
from muster.protocol.records import (
    Commit,
    Contribution,
    Job,
    Measurement,
    Member,
    Merge,
    Need,
    Offer,
    Plan,
    Record,
    Refusal,
    Revocation,
    Shared,
    Stop,
    Update,
    Use,
)
from muster.protocol.validation import limits as lim
from muster.protocol.validation.checks import (
    Invalid,
    above,
    ascending,
    codec,
    finite,
    identifier,
    length,
    number,
    payload,
    text,
    whole,
)
from muster.protocol.validation.commits import commit, merge
from muster.protocol.validation.field import need, sketch, task, use
from muster.protocol.validation.figures import figures, metrics, target

_MEMBER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def validate(record: Record) -> str | None:
    """One sentence about what is wrong with a record, or None."""
    try:
        _CHECKS[type(record)](record)
    except Invalid as invalid:
        return f"this {record.KIND} record cannot be used: {invalid}"
    return None


def _member(record: Member) -> None:
    _member_name(record.name)
    length("its certificate", record.certificate, 1, lim.CERTIFICATE_BYTES_MAX)


def _member_name(name: str) -> None:
    if len(name) > lim.MEMBER_NAME_CHARS_MAX or _MEMBER_NAME.fullmatch(name) is None:
        raise Invalid("its name is not made of a few letters, digits, '.', '_' or '-'")


def _job(record: Job) -> None:
    task(record.task, record.fingerprint)
    length("its nonce", record.nonce, 0, lim.NONCE_BYTES_MAX)
    whole("min_nodes", record.min_nodes, 1, lim.NODES_MAX)
    number("patience_s", record.patience_s, lim.PATIENCE_MIN_S, lim.PATIENCE_MAX_S)
    recipe(record.recipe)
    stop_rule(record.stop)
    metrics(record.metrics)
    if record.frozen is not None:
        identifier("frozen", record.frozen)
    whole("frozen_bytes", record.frozen_bytes, 0, 0 if record.frozen is None else lim.BLOB_BYTES_MAX)
    if record.share not in lim.SHARE:
        raise Invalid(f"share is one of {', '.join(lim.SHARE)}, not {record.share[: lim.NAME_CHARS_MAX]!r}")
    whole("share_bytes", record.share_bytes, 0, 0 if record.share == "none" else lim.SHARED_BYTES_MAX)
    number("width", record.width, lim.WIDTH_MIN, 1.0)
    whole("one_shot", record.one_shot, 0, 0 if record.share == "none" else lim.STEPS_MAX)
    if record.prune is not None:
        number("prune: the width", record.prune.width, lim.WIDTH_MIN, 1.0)
        whole("prune: the last round", record.prune.last, 1, lim.ROUND_MAX)
        whole("prune: the first round", record.prune.first, 1, record.prune.last)
    if record.stop.target is not None:
        target(record.stop.target, record.metrics)
    sketch("like", record.like)
    whole("replay", record.replay, 0, lim.BATCH_MAX if record.like else 0)
    length("stoppers", record.stoppers, 0, lim.STOPPERS_MAX)
    _ids("stoppers", record.stoppers)


def recipe(value: Recipe) -> None:
    """Raises Invalid."""
    above("lr", value.lr, 0.0, lim.LR_MAX)
    whole("batch", value.batch, 1, lim.BATCH_MAX)
    whole("steps", value.steps, 0, lim.STEPS_MAX)
    whole("seed", value.seed, lim.SEED_MIN, lim.SEED_MAX)
    number("momentum", value.momentum, 0.0, lim.MOMENTUM_MAX)
    for what, name in (("codec", value.codec), ("down_codec", value.down_codec)):
        if name != "auto":
            codec(what, name)
    above("server_lr", value.server_lr, 0.0, lim.LR_MAX)
    if value.server_momentum is not None:
        number("server_momentum", value.server_momentum, 0.0, lim.MOMENTUM_MAX)
    whole("average", value.average, 1, lim.AVERAGE_MAX)
    number("lr_end", value.lr_end, 0.0, 1.0)


def stop_rule(value: StopRule) -> None:
    """Raises Invalid."""
    if value.rounds is not None:
        whole("rounds", value.rounds, 1, lim.ROUND_MAX)
    if value.seconds is not None:
        above("seconds", value.seconds, 0.0, lim.AGE_MAX_S)
    if value.bytes is not None:
        whole("bytes", value.bytes, 1, lim.TOTAL_MAX)
    if value.stale is not None:
        whole("stale", value.stale, 1, lim.ROUND_MAX)
    if value.bytes_node is not None:
        whole("bytes_node", value.bytes_node, 1, lim.TOTAL_MAX)
    for what, joules in (("joules", value.joules), ("joules_node", value.joules_node)):
        if joules is not None:
            above(what, joules, 0.0, lim.FIGURE_MAX)


def _offer(record: Offer) -> None:
    identifier("job", record.job)
    whole("incarnation", record.incarnation, 0, lim.INCARNATION_MAX)
    whole("number", record.number, 0, lim.SEQUENCE_MAX)
    whole("samples", record.samples, 0, lim.EXAMPLES_MAX)
    number("step_s", record.step_s, 0.0, lim.STEP_MAX_S)
    if record.battery is not None:
        number("battery", record.battery, 0.0, 1.0)
    if record.available_s is not None:
        number("available_s", record.available_s, 0.0, lim.AGE_MAX_S)
    whole("goodput_bytes_s", record.goodput_bytes_s, 0, lim.RATE_MAX)
    if record.power is not None:
        _power(record.power)
    if record.bytes_left is not None:
        whole("bytes_left", record.bytes_left, 0, lim.TOTAL_MAX)
    if record.steps_max is not None:
        whole("steps_max", record.steps_max, 1, lim.STEPS_MAX)
    if record.joules_left is not None:
        number("joules_left", record.joules_left, 0.0, lim.FIGURE_MAX)


def _power(value: Power) -> None:
    number("power: the idle watts", value.idle_w, 0.0, lim.WATTS_MAX)
    number("power: the watts of training", value.train_w, 0.0, lim.WATTS_MAX)
    for what, joules in (
        ("a byte sent", value.sent_j_byte),
        ("a byte received", value.received_j_byte),
        ("an exchange", value.exchange_j),
    ):
        number(f"power: the joules of {what}", joules, 0.0, lim.EXCHANGE_MAX_J)


def _refusal(record: Refusal) -> None:
    identifier("job", record.job)
    whole("incarnation", record.incarnation, 0, lim.INCARNATION_MAX)
    whole("number", record.number, 0, lim.SEQUENCE_MAX)
    text("reason", record.reason)
    whole("round", record.round, 0, lim.ROUND_MAX)


def _plan(record: Plan) -> None:
    identifier("job", record.job)
    identifier("parent", record.parent)
    whole("round", record.round, 1, lim.ROUND_MAX)
    length("assignments", record.assignments, 1, lim.NODES_MAX)
    for a in (*record.assignments, *record.stand_ins):
        _assignment(a)
    ascending("assignments", sorted(a.node for a in record.assignments))
    ascending("stand_ins", [(a.data, a.node) for a in record.stand_ins])
    if not all(a.data for a in record.stand_ins):
        raise Invalid("stand_ins: one stands in for nobody")
    whole("enough", record.enough, 1, len(record.assignments))
    number("deadline_s", record.deadline_s, 0.0, lim.DEADLINE_MAX_S)
    text("why", record.why)
    whole("number", record.number, 0, lim.SEQUENCE_MAX)


def _assignment(value: Assignment) -> None:
    identifier("an assignment's node", value.node)
    whole("an assignment's steps", value.steps, 1, lim.STEPS_MAX)
    codec("an assignment's codec", value.codec)
    _ids("an assignment's data", value.data)


def _ids(what: str, ids: tuple[bytes, ...]) -> None:
    for one in ids:
        identifier(what, one)
    ascending(what, ids)


def _update(record: Update) -> None:
    identifier("job", record.job)
    identifier("base", record.base)
    whole("base_round", record.base_round, 0, lim.ROUND_MAX)
    whole("incarnation", record.incarnation, 0, lim.INCARNATION_MAX)
    whole("sequence", record.sequence, 1, lim.SEQUENCE_MAX)
    whole("steps", record.steps, 1, lim.STEPS_MAX)
    whole("examples", record.examples, 0, lim.EXAMPLES_MAX)
    _loss("loss", record.loss)
    payload("payload", record.payload)
    whole("residual_ratio", record.residual_ratio, 0, lim.RESIDUAL_RATIO_MAX)
    whole("train_ms", record.train_ms, 0, lim.SPAN_MAX_MS)
    whole("millijoules", record.millijoules, 0, lim.MILLIJOULES_MAX)
    _ids("data", record.data)


def _measurement(record: Measurement) -> None:
    identifier("job", record.job)
    identifier("commit", record.commit)
    whole("examples", record.examples, 0, lim.EXAMPLES_MAX)
    figures(record.figures)
    if record.figures and not record.examples:
        raise Invalid("figures: there are some, of no examples")


def _loss(what: str, value: float) -> None:
    """A loss may be no number or infinite: a model that diverges says so. It decides nothing."""
    if math.isfinite(value):
        finite(what, value, lim.FIGURE_MAX)


def _stop(record: Stop) -> None:
    identifier("job", record.job)
    text("reason", record.reason)


def _revocation(record: Revocation) -> None:
    identifier("node", record.node)
    text("reason", record.reason)
    if record.name:
        _member_name(record.name)
    length("stands", record.stands, 0, lim.STANDS_MAX)
    _ids("stands", record.stands)


def _contribution(record: Contribution) -> None:
    identifier("job", record.job)
    identifier("commit", record.commit)
    whole("examples", record.examples, 0, lim.EXAMPLES_MAX)
    finite("drop", record.drop, lim.FIGURE_MAX)
    length("values", record.values, 0, 4 * lim.NODES_MAX)
    if len(record.values) % 4:
        raise Invalid(f"values: {len(record.values)} bytes are no list of numbers of 4 bytes")
    if not all(map(math.isfinite, struct.unpack(f"<{len(record.values) // 4}f", record.values))):
        raise Invalid("values: one is not finite")


def _shared(record: Shared) -> None:
    identifier("job", record.job)
    whole("incarnation", record.incarnation, 0, lim.INCARNATION_MAX)
    whole("number", record.number, 0, lim.SEQUENCE_MAX)
    if record.kind not in lim.SHARED_KINDS:
        raise Invalid(f"kind: there is no {record.kind[: lim.NAME_CHARS_MAX]!r}")
    whole("samples", record.samples, 1, lim.SHARED_SAMPLES_MAX)
    whole("stands_for", record.stands_for, record.samples, lim.EXAMPLES_MAX)
    payload("payload", record.payload)
    if record.payload.codec != lim.SHARED_CODEC:
        raise Invalid(f"payload: a coreset's codec is {lim.SHARED_CODEC!r}")
    if record.payload.blob is None:  # a record is kept for ever, samples go with their job
        raise Invalid("payload: a coreset is a blob")
    whole("payload: its bytes", record.payload.size_bytes, 1, lim.SHARED_BYTES_MAX)


_CHECKS: dict[type[Record], Callable[[Any], None]] = {
    Member: _member,
    Job: _job,
    Offer: _offer,
    Refusal: _refusal,
    Plan: _plan,
    Update: _update,
    Commit: commit,
    Merge: merge,
    Measurement: _measurement,
    Stop: _stop,
    Revocation: _revocation,
    Contribution: _contribution,
    Shared: _shared,
    Need: need,
    Use: use,
}

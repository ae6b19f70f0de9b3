"""The fields of commits and merges, each table by itself."""

from __future__ import annotations

from muster.protocol.parts import Discarded, Folded, Spent, Steering
from muster.protocol.records import Commit, Merge
from muster.protocol.validation import limits as lim
from muster.protocol.validation.checks import (
    Invalid,
    ascending,
    codec_name,
    finite,
    identifier,
    length,
    number,
    payload,
    text,
    whole,
)


def merge(record: Merge) -> None:
    """Raises Invalid."""
    identifier("job", record.job)
    for parent in record.parents:
        identifier("a parent", parent)
    ascending("parents", record.parents)


def commit(record: Commit) -> None:
    """Raises Invalid."""
    identifier("job", record.job)
    length("parents", record.parents, 0, 1)
    for parent in record.parents:
        identifier("the parent", parent)
    whole("round", record.round, 0, lim.ROUND_MAX)
    _folded(record.folded)
    _discarded(record.discarded)
    _counted_once(record)
    _joined(record.joined)
    _spent(record.spent)
    number("age_s", record.age_s, 0.0, lim.AGE_MAX_S)
    identifier("params", record.params)
    whole("params_bytes", record.params_bytes, 0, lim.BLOB_BYTES_MAX)
    if record.delta is not None:
        payload("delta", record.delta)
    number("residual_norm", record.residual_norm, 0.0, lim.FIGURE_MAX)
    _costs(record)
    _missed(record)
    _steering(record.steering)
    text("over", record.over)
    _stand_ins(record)
    _shape(record)
    if len(record.digest) != (lim.DIGEST_BYTES if lim.has_digest(record.round) else 0):
        raise Invalid(f"the digest has {len(record.digest)} bytes in round {record.round}")
    if not record.parents:
        _root(record)


def _root(record: Commit) -> None:
    """The first commit of a job says which parameters it begins from, and nothing else."""
    more = record.folded or record.discarded or record.spent or record.delta
    planned = record.missed or record.over or record.steering != Steering() or record.stand_ins
    if record.round != 0 or record.age_s != 0.0 or more or planned:
        raise Invalid("a job's first commit has no round, counts nothing and has no delta")


def _life(what: str, row: Folded | Discarded) -> None:
    identifier(f"{what}: the node", row.node)
    whole(f"{what}: the incarnation", row.incarnation, 0, lim.INCARNATION_MAX)


def _folded(rows: tuple[Folded, ...]) -> None:
    ascending("folded", [(f.node, f.incarnation, f.sequence) for f in rows])
    for f in rows:
        _life("folded", f)
        whole("folded: the sequence", f.sequence, 1, lim.SEQUENCE_MAX)
        whole("folded: the steps", f.steps, 1, lim.STEPS_MAX)
        whole("folded: the examples", f.examples, 0, lim.EXAMPLES_MAX)
        whole("folded: the staleness", f.staleness, 0, lim.ROUND_MAX)
        number("folded: the weight", f.weight, 0.0, lim.WEIGHT_MAX)


def _discarded(rows: tuple[Discarded, ...]) -> None:
    ascending("discarded", [(d.node, d.incarnation, d.sequence) for d in rows])
    for d in rows:
        _life("discarded", d)
        whole("discarded: the sequence", d.sequence, 1, lim.SEQUENCE_MAX)
        text("discarded: the reason", d.reason)


def _counted_once(record: Commit) -> None:
    rows: tuple[Folded | Discarded, ...] = (*record.folded, *record.discarded)
    if len({(r.node, r.incarnation, r.sequence) for r in rows}) != len(rows):
        raise Invalid("an update is folded and discarded")


def _joined(nodes: tuple[bytes, ...]) -> None:
    length("joined", nodes, 0, lim.NODES_MAX)
    for node in nodes:
        identifier("joined", node)
    if len(set(nodes)) != len(nodes):
        raise Invalid("joined: a node stands there twice")


def _spent(rows: tuple[Spent, ...]) -> None:
    ascending("spent", [s.node for s in rows])
    for s in rows:
        identifier("spent: the node", s.node)
        whole("spent: the steps", s.steps, 0, lim.TOTAL_MAX)
        whole("spent: the examples", s.examples, 0, lim.TOTAL_MAX)
        whole("spent: the bytes", s.bytes, 0, lim.TOTAL_MAX)
        number("spent: the joules", s.joules, 0.0, lim.FIGURE_MAX)


def _costs(record: Commit) -> None:
    if record.costs and len(record.costs) != len(record.folded):
        raise Invalid(f"costs: {len(record.costs)} for {len(record.folded)} updates")
    for cost in record.costs:
        whole("costs: the turnaround", cost.turnaround_ms, 0, lim.SPAN_MAX_MS)
        whole("costs: the training", cost.train_ms, 0, lim.SPAN_MAX_MS)
        whole("costs: the bytes", cost.size_bytes, 0, lim.BLOB_BYTES_MAX)
        codec_name("costs: the codec", cost.codec)
        whole("costs: the residual", cost.residual_ratio, 0, lim.RESIDUAL_RATIO_MAX)
        whole("costs: the millijoules", cost.millijoules, 0, lim.MILLIJOULES_MAX)


def _missed(record: Commit) -> None:
    for place in record.missed:
        whole("missed: a place", place, 0, lim.NODES_MAX - 1)
    ascending("missed", record.missed)


def _stand_ins(record: Commit) -> None:
    """Whom the places in the roster name follows from the history (`history/succession.py`)."""
    ascending("stand_ins", [s.place for s in record.stand_ins])
    for s in record.stand_ins:
        whole("stand_ins: the update", s.place, 0, len(record.folded) - 1)
        length("stand_ins: the nodes", s.data, 1, lim.NODES_MAX)
        for place in s.data:
            whole("stand_ins: a node", place, 0, lim.NODES_MAX - 1)
        ascending("stand_ins: the nodes", s.data)


def _shape(record: Commit) -> None:
    """A commit that prunes counts nothing and sends nothing, so `history/succession.py` compares the two."""
    if record.shape and not lim.SHAPE_BYTES_MIN <= len(record.shape) <= lim.SHAPE_BYTES_MAX:
        raise Invalid(f"the shape has {len(record.shape)} bytes")


def _steering(value: Steering) -> None:
    whole("steering: the steps", value.steps, 0, lim.STEPS_MAX)
    for what, count in (
        ("halvings", value.halvings),
        ("stalled", value.stalled),
        ("taken back", value.taken_back),
    ):
        whole(f"steering: {what}", count, 0, lim.ROUND_MAX)
    whole("steering: the residual", value.residual_ratio, 0, lim.RESIDUAL_RATIO_MAX)
    for what, loss in (("loss", value.loss), ("best", value.best)):
        if loss is not None:
            finite(f"steering: the {what}", loss, lim.FIGURE_MAX)

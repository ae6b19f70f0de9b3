"""Tells other nodes what is in use here and what is needed: this node's `Use` and `Need`."""

from __future__ import annotations

import msgspec

from muster.node.field.looking import Found
from muster.node.field.task_field import TaskField
from muster.node.field.workshop import Sketch
from muster.protocol.records import Need, Use
from muster.protocol.validation.limits import AGE_MAX_S

UNNUMBERED = (0, 0)  # incarnation and number, which the table gives


def tell_use(field: TaskField, found: Found) -> None:
    """Publish what the pointer says. Raises StorageError."""
    in_use, live = found.in_use, found.live
    assert in_use is not None
    made = found.made
    assert made is not None  # else nothing is said (`Situation.foreign`)
    use = Use(
        field.task,
        made.fingerprint,
        *UNNUMBERED,
        made.job,
        made.commit,
        in_use.former_commit,
        in_use.reason,
        min(AGE_MAX_S, max(0.0, field.clock() - in_use.since_s)),
        made.held,
        made.wins,
        made.losses,
        live.labels,
        live.right,
    )
    field.core.field.publish(use)
    field.memory.said_use = (in_use.version, in_use.since_s, live.labels)
    field.remember()


def tell_need(field: TaskField, found: Found, sketch: Sketch) -> None:
    """Publish that the model in use fails here. Raises StorageError."""
    labels, made = found.labels, found.made
    assert made is not None
    field.memory.need_s = field.clock()
    field.remember()
    field.core.field.publish(
        Need(
            field.task,
            made.fingerprint,
            *UNNUMBERED,
            labels.epoch,
            sketch.sketch,
            sketch.samples,
            labels.judged,
            labels.wrong,
        )
    )


def end_need(field: TaskField, need: Need) -> None:
    """Publish that a need is over. Raises StorageError."""
    field.core.field.publish(msgspec.structs.replace(need, over=True))

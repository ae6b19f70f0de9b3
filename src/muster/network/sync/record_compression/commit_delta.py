"""A commit as what a holder of its parent cannot work out.

Of a commit over ten nodes nine tenths follow from the parent and from the list of updates that it counts: the
set counted so far, the roster, each node's steps and examples.  What is left are seventeen values, some of
them columns (`commit_columns`).

Everything works on plain lists as MessagePack gives them.  `shorten` returns None where a commit does not
follow its parent as commits usually do, and the caller sends it by other means.
"""

from __future__ import annotations

from itertools import starmap

import msgspec

from muster.history.counted import Counted, Key
from muster.network.sync.record_compression import inline_payload
from muster.network.sync.record_compression.commit_columns import (
    NotAChild,
    folded_columns,
    folded_rows,
    spent_columns,
    spent_rows,
)
from muster.network.sync.record_compression.inline_payload import Body, place_of, tag_of
from muster.protocol.parts import Range, Steering
from muster.protocol.records import Commit

TICKS_A_S = 16  # of a commit's age, when it is a whole number of them
_COLUMNS = 17
_DELTA_COLUMN = 4  # where the downlink's payload stands among them
_TAG = tag_of(Commit)
_FIELDS = 1 + len(Commit.__struct_fields__)
_JOB, _PARENTS, _ROUND = (place_of(Commit, name) for name in ("job", "parents", "round"))
_COUNTED, _FOLDED, _ROSTER = (place_of(Commit, name) for name in ("counted", "folded", "roster"))
_SPENT, _AGE, _PARAMS = (place_of(Commit, name) for name in ("spent", "age_s", "params"))
_PARAMS_BYTES, _DELTA = (place_of(Commit, name) for name in ("params_bytes", "delta"))
_NORM, _DISCARDED = (place_of(Commit, name) for name in ("residual_norm", "discarded"))
_COSTS = place_of(Commit, "costs")
_LAST = tuple(
    place_of(Commit, name) for name in ("costs", "missed", "steering", "over", "stand_ins", "shape")
)
_PLAIN: Body = [
    [],
    [],
    msgspec.to_builtins(Steering()),
    "",
    [],
    b"",
]  # what a commit has there that says nothing


def shorten(body: Body, parent_id: bytes, parent: Body) -> Body | None:
    """What `parent` does not say of a commit, or None when it is not an ordinary child of it."""
    if body[0] != _TAG or parent[0] != _TAG or len(body) != _FIELDS or len(parent) != _FIELDS:
        return None
    known = len(parent[_ROSTER])
    same_job = body[_PARENTS] == [parent_id] and body[_JOB] == parent[_JOB]
    if not same_job or body[_ROSTER][:known] != parent[_ROSTER]:
        return None
    places = {node: place for place, node in enumerate(body[_ROSTER])}
    folded = body[_FOLDED]
    if any(row[0] not in places for row in folded):
        return None
    counted = _counted(parent, folded, body[_DISCARDED])
    columns = [
        body[_ROUND] - parent[_ROUND],
        _ticks(body[_AGE]),
        body[_PARAMS],
        None if body[_PARAMS_BYTES] == parent[_PARAMS_BYTES] else body[_PARAMS_BYTES],
        body[_DELTA],
        body[_NORM],
        body[_ROSTER][known:],
        folded_columns(folded, places, parent[_FOLDED], parent[_COUNTED]),
        body[_DISCARDED],
        None if body[_COUNTED] == counted else body[_COUNTED],
        spent_columns(body[_SPENT], parent[_SPENT], folded, body[_COSTS]),
        *_without_plain([body[place] for place in _LAST]),
    ]
    return columns if expand(columns, parent_id, parent) == body else None


def expand(columns: Body, parent_id: bytes, parent: Body) -> Body:
    """The commit that `shorten` had. Raises NotAChild, or what unsuitable values lead to."""
    if not _COLUMNS - len(_LAST) <= len(columns) <= _COLUMNS or parent[0] != _TAG or len(parent) != _FIELDS:
        raise NotAChild("this is no child of a commit")
    step, age_s, params, params_bytes, delta, norm, joined, folding, discarded, counted, spending, *last = (
        columns
    )
    roster = parent[_ROSTER] + joined
    folded = folded_rows(folding, roster, parent[_FOLDED], parent[_COUNTED])
    last += _PLAIN[len(last) :]
    return [
        _TAG,
        parent[_JOB],
        [parent_id],
        parent[_ROUND] + step,
        _counted(parent, folded, discarded) if counted is None else counted,
        folded,
        roster,
        spent_rows(spending, parent[_SPENT], folded, last[_LAST.index(_COSTS)]),
        age_s / TICKS_A_S if isinstance(age_s, int) else age_s,
        params,
        parent[_PARAMS_BYTES] if params_bytes is None else params_bytes,
        delta,
        norm,
        discarded,
        *last,
    ]


def cut(columns: Body) -> tuple[Body, bytes]:
    """What `shorten` gave without the inline payload, and that payload."""
    delta, inline = inline_payload.cut_payload(columns[_DELTA_COLUMN])
    return [*columns[:_DELTA_COLUMN], delta, *columns[_DELTA_COLUMN + 1 :]], inline


def paste(columns: Body, inline: bytes) -> Body:
    """What `cut` had."""
    if not inline:
        return columns
    delta = inline_payload.paste_payload(columns[_DELTA_COLUMN], inline)
    return [*columns[:_DELTA_COLUMN], delta, *columns[_DELTA_COLUMN + 1 :]]


def _without_plain(last: Body) -> Body:
    """The last columns, without those at the end that say nothing."""
    said = [i for i, (value, plain) in enumerate(zip(last, _PLAIN, strict=True)) if value != plain]
    return last[: said[-1] + 1] if said else []


def _counted(parent: Body, folded: Body, discarded: Body) -> Body:
    """The ranges that a child counts: its parent's, what it folded and what it discarded."""
    before = Counted.from_ranges(starmap(Range, parent[_COUNTED]))
    keys = (Key(row[0], row[1], row[2]) for row in (*folded, *discarded))
    return [[r.node, r.incarnation, r.first, r.last] for r in before.plus(keys).ranges()]


def _ticks(age_s: float) -> float:
    """Sixteenths of a second as a whole number, where it is one; else seconds."""
    ticks = age_s * TICKS_A_S
    return int(ticks) if 0 <= ticks < 2**40 and ticks == int(ticks) else age_s

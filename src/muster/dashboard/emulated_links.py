"""Rows of an emulated network's links, from the parameters and counters that the emulator gives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from muster.node.api.rows.changes import Row, Rows, brief
from muster.node.api.rows.schema import DropRow, LinkDirection, LinkRow

RATE_WINDOW_S = 3.0
PARAMETERS = ("rate_kbit_s", "delay_ms", "jitter_ms", "loss")
GOOD_MS = 200.0  # a delay that halves the quality

Pair = tuple[str, str]


class LinkSettings(NamedTuple):
    """What was last asked for on the page."""

    preset: str | None
    drop: DropRow | None


class LinkChanges(NamedTuple):
    """What a look at the emulator showed."""

    rows: Rows  # of all links; measurements of the viewing node only in a link's first row
    turned: list[tuple[Pair, bool]]  # links that went up or down, and whether they are up
    altered: list[Pair]  # links with other parameters than before


class EmulatedLinks:
    """Remembers every link's last row, and the counters of the last seconds for rates."""

    def __init__(self) -> None:
        self._rows: dict[Pair, Row] = {}
        self._counts: deque[tuple[float, dict[Pair, int]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._rows)

    def id_of(self, own: str) -> str | None:
        """The id of the link that a node calls `own`: its ends may be swapped."""
        a, _, b = own.partition("|")
        return next((f"{x}|{y}" for x, y in ((a, b), (b, a)) if (x, y) in self._rows), None)

    def look(
        self,
        found: list[Row],
        now_t: float,
        settings: Callable[[Pair], LinkSettings],
        measured: Callable[[str], Row | None],
    ) -> LinkChanges:
        """`found`: parameters and counters of every direction; `measured`: of a link, by the viewing node."""
        directions = {(one["a"], one["b"]): one for one in found}
        self._counts.append((now_t, {pair: one["count"]["bytes"] for pair, one in directions.items()}))
        while len(self._counts) > 2 and now_t - self._counts[0][0] > RATE_WINDOW_S:
            self._counts.popleft()
        changes = LinkChanges({}, [], [])
        for pair in directions:
            a, b = pair
            if (b, a) not in directions or (b, a) in self._rows:
                continue
            old = self._rows.get(pair)
            row = self._row(pair, directions, now_t, settings(pair), old)
            if old is None:
                row |= measured(f"{a}|{b}") or measured(f"{b}|{a}") or {}
            else:
                del row["rtt_s"], row["goodput_bytes_s"]
                if old["up"] != row["up"]:
                    changes.turned.append((pair, row["up"]))
                elif any(old[side][p] != row[side][p] for side in ("there", "back") for p in PARAMETERS):
                    changes.altered.append(pair)
            self._rows[pair] = row
            changes.rows[row["id"]] = row
        return changes

    def _row(
        self,
        pair: Pair,
        directions: Mapping[Pair, Row],
        now_t: float,
        settings: LinkSettings,
        old: Row | None,
    ) -> Row:
        there, back = self._direction(directions[pair]), self._direction(directions[pair[::-1]])
        up = there.up and back.up
        row = LinkRow(
            id=f"{pair[0]}|{pair[1]}",
            a=pair[0],
            b=pair[1],
            emulated=True,
            up=up,
            quality=quality(msgspec.structs.asdict(there), msgspec.structs.asdict(back)),
            rtt_s=None,
            goodput_bytes_s=None,
            up_t=old["up_t"] if old and old["up"] and up else now_t,
            preset=settings.preset,
            drop=settings.drop,
            there=there,
            back=back,
        )
        built: Row = msgspec.to_builtins(row)
        return built

    def _direction(self, one: Row) -> LinkDirection:
        params, count = one["params"], one["count"]
        from_t, old = self._counts[0]
        now_t, new = self._counts[-1]
        pair = (one["a"], one["b"])
        moved = new[pair] - old.get(pair, 0)
        return LinkDirection(
            up=params["up"],
            **{name: params[name] for name in PARAMETERS},
            burst=params.get("burst") is not None,
            bytes=count["bytes"],
            bytes_s=brief(max(0, moved) / max(now_t - from_t, 0.2)) if len(self._counts) > 1 else 0.0,
            lost_frames=count["dropped_loss"] + count["dropped_queue"] + count["dropped_down"],
        )


def quality(there: Mapping[str, Any], back: Mapping[str, Any]) -> float:
    """(1 - loss)^4 * 200 / (200 + delay_ms) of the worse direction; 0 when one is down.

    >>> quality({"up": True, "loss": 0.0, "delay_ms": 50.0}, {"up": True, "loss": 0.05, "delay_ms": 50.0})
    0.65
    """
    if not (there["up"] and back["up"]):
        return 0.0
    loss, delay_ms = max(there["loss"], back["loss"]), max(there["delay_ms"], back["delay_ms"])
    return round(float((1 - loss) ** 4 * GOOD_MS / (GOOD_MS + delay_ms)), 2)

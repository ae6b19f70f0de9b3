"""Faults as data: one type for the simulation, a scenario's schedule and the page.

A fault is a small value that reads and writes as JSON or TOML (`{fault = "cut", a = "delta", b = "echo"}`).
What it does to links is a pure function, `link_changes`; what it does to a node (`node_of`) is up to the
world that the node lives in.  The idea is Jepsen's nemesis: faults are values, a world interprets them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

EVERY = "*"  # in place of a node's name: any node

Pair: TypeAlias = tuple[str, str]  # one direction: from, to
Change: TypeAlias = dict[str, float | bool]  # link parameters to set, by name


class _Fault(msgspec.Struct, frozen=True, tag_field="fault", forbid_unknown_fields=True):
    pass


class Cut(_Fault, frozen=True, tag="cut"):
    """The link a-b carries nothing (only a -> b when `both` is false); `*` stands for any node."""

    a: str = EVERY
    b: str = EVERY
    both: bool = True


class Heal(_Fault, frozen=True, tag="heal"):
    """The link a-b carries again, with the parameters that it has; without names: every link."""

    a: str = EVERY
    b: str = EVERY
    both: bool = True


class Partition(_Fault, frozen=True, tag="partition"):
    """Links between different groups are cut; nodes named in no group are one more group."""

    groups: tuple[tuple[str, ...], ...]


class Slow(_Fault, frozen=True, tag="slow"):
    """Set rate, delay and jitter of a link; what is None stays."""

    a: str = EVERY
    b: str = EVERY
    rate_kbit_s: float | None = None
    delay_ms: float | None = None
    jitter_ms: float | None = None
    both: bool = True


class Lose(_Fault, frozen=True, tag="lose"):
    """Set a link's independent loss, 0..1."""

    loss: float
    a: str = EVERY
    b: str = EVERY
    both: bool = True


class Leave(_Fault, frozen=True, tag="leave"):
    """The node's radio is off; its processes go on."""

    node: str


class Return(_Fault, frozen=True, tag="return"):
    """The node's radio is on again."""

    node: str


class Kill(_Fault, frozen=True, tag="kill"):
    """The node's processes end at once, as at a power cut; its disk stays."""

    node: str


class Pause(_Fault, frozen=True, tag="pause"):
    """The node's processes stand still."""

    node: str


class Resume(_Fault, frozen=True, tag="resume"):
    """A paused node goes on."""

    node: str


class Restart(_Fault, frozen=True, tag="restart"):
    """The node ends at once if it runs, and starts again with its disk after `after_s`."""

    node: str
    after_s: float = 0.0


class FillDisk(_Fault, frozen=True, tag="fill_disk"):
    """Only `free_bytes` are left for the node to write; None: the disk is as it was."""

    node: str
    free_bytes: int | None = 0


class SkewClock(_Fault, frozen=True, tag="skew_clock"):
    """The node's wall clock is off by `offset_s` (dates; the monotonic clock is untouched)."""

    node: str
    offset_s: float


Fault: TypeAlias = (
    Cut
    | Heal
    | Partition
    | Slow
    | Lose
    | Leave
    | Return
    | Kill
    | Pause
    | Resume
    | Restart
    | FillDisk
    | SkewClock
)
LinkFault: TypeAlias = Cut | Heal | Partition | Slow | Lose
NodeFault: TypeAlias = Leave | Return | Kill | Pause | Resume | Restart | FillDisk | SkewClock


def names_in(fault: Fault) -> set[str]:
    """The nodes that a fault names."""
    if isinstance(fault, Partition):
        return {name for group in fault.groups for name in group}
    if isinstance(fault, Cut | Heal | Slow | Lose):
        return {fault.a, fault.b} - {EVERY}
    return {fault.node}


def link_changes(fault: Fault, links: Iterable[Pair]) -> dict[Pair, Change]:
    """What a fault sets on which directions; empty for faults of nodes."""
    if isinstance(fault, Partition):
        side = {name: number for number, group in enumerate(fault.groups) for name in group}
        return {(a, b): {"up": False} for a, b in links if side.get(a) != side.get(b)}
    if isinstance(fault, Cut | Heal | Slow | Lose):
        change = _change(fault)
        return {pair: dict(change) for pair in links if _meant(fault, pair)} if change else {}
    return {}


def _change(fault: Cut | Heal | Slow | Lose) -> Change:
    match fault:
        case Cut():
            return {"up": False}
        case Heal():
            return {"up": True}
        case Lose():
            return {"loss": fault.loss}
        case Slow():
            values = {name: getattr(fault, name) for name in ("rate_kbit_s", "delay_ms", "jitter_ms")}
            return {name: value for name, value in values.items() if value is not None}


def _meant(fault: Cut | Heal | Slow | Lose, pair: Pair) -> bool:
    def fits(a: str, b: str) -> bool:
        return fault.a in (EVERY, a) and fault.b in (EVERY, b)

    return fits(*pair) or (fault.both and fits(pair[1], pair[0]))


def to_dict(fault: Fault) -> dict[str, Any]:
    """Plain values, for JSON and TOML (which has no None: fields that are None are left out)."""
    raw: dict[str, Any] = msgspec.to_builtins(fault)
    return {name: value for name, value in raw.items() if value is not None}


def from_dict(raw: dict[str, Any]) -> Fault:
    """The fault in plain values. Raises msgspec.ValidationError, which says what is wrong where."""
    fault: Fault = msgspec.convert(raw, type=Fault)
    return fault

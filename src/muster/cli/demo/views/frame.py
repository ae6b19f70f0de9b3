"""The state of a demo at one moment, as a value: drawing it is a pure function."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from muster.cli.demo.views.in_use import InUseLine
from muster.node.api.snapshot import ContributionView, JobSnapshot, Snapshot

EVENTS_MAX = 200
RATE_WINDOW_S = 3.0
CURVE_MAX = 1000

Pair = tuple[str, str]


@dataclass(frozen=True)
class NodeLine:
    """One node. `state` is starting, away, gone, idle, receiving, training, sending, ..."""

    name: str
    state: str
    progress: float = 0.0
    step_s: float | None = None
    battery: float | None = None
    samples: int = 0
    steps: int = 0
    updates_counted: int = 0
    share: float = 0.0
    stood_in: int = 0  # updates that others trained in its place
    shared_bytes: int = 0  # of the samples that they train on
    heard_s: float | None = None  # since the watched node heard it last
    stand_in: bool = False  # the newest round counts one for it


@dataclass(frozen=True)
class LinkLine:
    """One link, both directions: bytes since the job began, bytes a second lately."""

    a: str
    b: str
    up: bool
    there_bytes: int
    back_bytes: int
    there_bytes_s: float
    back_bytes_s: float


@dataclass(frozen=True)
class Frame:
    """Everything that is shown at one moment."""

    title: str
    phase: str  # one sentence while there is no job
    elapsed_s: float  # since the job was asked for; before: since the start
    job: JobSnapshot | None
    curve: tuple[tuple[float, float], ...]  # (job's age in s, headline)
    nodes: tuple[NodeLine, ...]
    links: tuple[LinkLine, ...]
    events: tuple[tuple[float, str], ...]  # the newest ones
    event_count: int = 0  # how many there were in all
    in_use: tuple[InUseLine, ...] = ()  # of a story about models in use: shown in place of `nodes`

    @property
    def bytes_total(self) -> int:
        """On all links, since the job began."""
        return sum(link.there_bytes + link.back_bytes for link in self.links)


def state_of(snapshot: Snapshot | None, *, away: bool, ended: bool) -> str:
    """The node's state; the emulator knows who is away, the node itself may not."""
    if ended:
        return "gone"
    if snapshot is None:
        return "starting"
    return "away" if away else snapshot.node.state


def node_rows(
    names: tuple[str, ...],
    snapshots: Mapping[str, Snapshot],
    away: frozenset[str],
    ended: frozenset[str],
    job: JobSnapshot | None,
    watched: str = "",
) -> tuple[NodeLine, ...]:
    """A row a node, in the scenario's order; contributions by the node that was asked, `watched`."""
    heard = {p.name: p.heard_s for p in snapshots[watched].peers} if watched in snapshots else {}
    newest = next((c for c in reversed(job.commits) if c.nodes or c.stand_ins), None) if job else None
    shares: dict[str, ContributionView] = {c.node: c for c in job.contributions} if job else {}
    speeds: dict[str, float] = {}
    for snapshot in snapshots.values():
        speeds.update({p.name: p.step_s for p in snapshot.peers if p.step_s is not None})
    rows = []
    for name in names:
        seen, given = snapshots.get(name), shares.get(name)
        rows.append(
            NodeLine(
                name,
                state_of(seen, away=name in away, ended=name in ended),
                seen.node.progress if seen else 0.0,
                speeds.get(name),
                seen.node.battery if seen else None,
                given.samples if given else 0,
                given.steps if given else 0,
                given.updates_counted if given else 0,
                given.share if given else 0.0,
                given.stood_in if given else 0,
                given.shared_bytes if given else 0,
                heard.get(name),
                newest is not None and name in newest.stand_ins,
            )
        )
    return tuple(rows)


class LinkMeter:
    """Measures bytes a second of every direction over the last seconds, and bytes since `reset`."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, dict[Pair, int]]] = deque(maxlen=64)
        self._zero: dict[Pair, int] = {}

    def add(self, now_s: float, counts: dict[Pair, int]) -> None:
        """A reading of every direction's counter, in bytes since the start."""
        self._past.append((now_s, counts))
        while len(self._past) > 2 and now_s - self._past[0][0] > RATE_WINDOW_S:
            self._past.popleft()

    def reset(self) -> None:
        """Count from the last reading."""
        if self._past:
            self._zero = self._past[-1][1]

    def total(self, pair: Pair) -> int:
        """Bytes of one direction since the reset."""
        return self._past[-1][1].get(pair, 0) - self._zero.get(pair, 0) if self._past else 0

    def totals(self) -> dict[Pair, int]:
        """Bytes of every direction since the reset."""
        return {pair: self.total(pair) for pair in (self._past[-1][1] if self._past else {})}

    def before_reset(self) -> int:
        """Bytes of all directions before the reset."""
        return sum(self._zero.values())

    def rate(self, pair: Pair) -> float:
        """Bytes a second of one direction, over the last `RATE_WINDOW_S`."""
        if len(self._past) < 2:
            return 0.0
        (from_s, old), (to_s, new) = self._past[0], self._past[-1]
        return max(0.0, (new.get(pair, 0) - old.get(pair, 0)) / max(to_s - from_s, 1e-6))

    def rows(self, links: tuple[Pair, ...], down: frozenset[Pair]) -> tuple[LinkLine, ...]:
        """A row a link."""
        return tuple(
            LinkLine(
                a,
                b,
                (a, b) not in down,
                self.total((a, b)),
                self.total((b, a)),
                self.rate((a, b)),
                self.rate((b, a)),
            )
            for a, b in links
        )


def curve_of(job: JobSnapshot | None) -> tuple[tuple[float, float], ...]:
    """(age, headline metric) of the commits that were measured, oldest first."""
    if job is None:
        return ()
    measured = ((c.age_s, c.figures.get(job.headline)) for c in job.commits[-CURVE_MAX:])
    return tuple((age_s, value) for age_s, value in measured if value is not None)

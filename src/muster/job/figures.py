"""What nodes measured of a commit, pooled, and which of two commits is the better one: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from muster.history.point import Point
from muster.protocol.ids import NodeId
from muster.protocol.metrics import score, shown
from muster.protocol.parts import Figure, Metric
from muster.protocol.records import Measurement

T = TypeVar("T")


@dataclass(frozen=True)
class Figures:
    """A pooled evaluation of one commit: the sum and the count of each metric.

    `common`: on the task's own evaluation set; else on what nodes hold out of their data.
    """

    examples: int
    sums: Mapping[str, tuple[float, float]]
    common: bool = False

    def value(self, metric: Metric) -> float | None:
        """A metric as it is shown; None: it was not measured."""
        if metric.name not in self.sums:
            return None
        total, count = self.sums[metric.name]
        return shown(metric, total / count)

    def values(self, metrics: Iterable[Metric]) -> dict[str, float]:
        """What was measured, in the order of `metrics`."""
        found = ((metric.name, self.value(metric)) for metric in metrics)
        return {name: value for name, value in found if value is not None}


@dataclass(frozen=True)
class Standstill:
    """Since when a line of commits got no better: `rounds` were measured after the best one's."""

    rounds: int
    best: float
    best_round: int


def of_classes(examples: int, correct: int, loss_sum: float) -> dict[str, tuple[float, float]]:
    """The sums of a classifier."""
    count = float(examples)
    return {"accuracy": (float(correct), count), "loss": (loss_sum, count)} if examples else {}


def sorted_figures(sums: Mapping[str, tuple[float, float]]) -> tuple[Figure, ...]:
    """As a record has them."""
    return tuple(Figure(name, _short(total), _short(count)) for name, (total, count) in sorted(sums.items()))


def _short(value: float) -> int | float:
    return int(value) if abs(value) < 2**53 and value == int(value) else value


def extent(m: Measurement, headline: Metric) -> tuple[int, float, tuple[Figure, ...], bool]:
    """The order of evaluations of one commit: of two by a node, or on the common set, the last one counts."""
    of_headline = [shown(headline, f.sum / f.count) for f in m.figures if f.name == headline.name]
    return (m.examples, score(headline, of_headline[0] if of_headline else None), m.figures, m.common)


def believed(
    by_node: Mapping[NodeId, Measurement],
    roster: Collection[NodeId],
    offered: Callable[[NodeId], int | None],
) -> dict[NodeId, Measurement]:
    """The evaluations of a commit that count: by nodes of its roster, on no more samples of their own than
    they offered (`offered(node)`; None: that is not known)."""

    def fits(node: NodeId, m: Measurement) -> bool:
        samples = offered(node)
        return m.common or samples is None or m.examples <= samples

    members = set(roster) if by_node else set()
    return {node: m for node, m in by_node.items() if node in members and fits(node, m)}


def deciding(by_node: Mapping[NodeId, Measurement], author: NodeId, headline: Metric) -> list[Measurement]:
    """Those of the evaluations that count by which a commit may end its job.

    On the common set, which is the same everywhere, the commit's author decides, who coordinated; where it
    did not measure, as with a merge, the lower middle one of those on the most samples: a single node that
    says too much ends nothing as soon as two others measured.  Own parts add up, as they do in `pooled`.
    """
    common = {node: m for node, m in by_node.items() if m.common}
    if not common:
        return list(by_node.values())
    if author in common:
        return [common[author]]
    most = max(m.examples for m in common.values())
    widest = sorted((m for m in common.values() if m.examples == most), key=lambda m: extent(m, headline))
    return [widest[(len(widest) - 1) // 2]]


def pooled(by_all: Collection[Measurement], headline: Metric) -> Figures | None:
    """The evaluations of one commit as one: the common set counts once, own parts add up."""
    common = [m for m in by_all if m.common]
    chosen = [max(common, key=lambda m: extent(m, headline))] if common else by_all
    examples = sum(m.examples for m in chosen)
    if examples == 0:
        return None
    sums: dict[str, tuple[float, float]] = {}
    for m in chosen:
        for f in m.figures:
            total, count = sums.get(f.name, (0.0, 0.0))
            sums[f.name] = total + f.sum, count + f.count
    return Figures(examples, sums, bool(common))


def comparable(measured: Iterable[tuple[T, Figures]], headline: Metric) -> list[tuple[T, Figures]]:
    """Those of a job's commits whose headline can be compared, in the same order.

    Figures of the common set are compared with each other only.  Where there is no such set, a commit is
    measured when half as many examples as of any other are in: a few samples of one node say nothing about
    what all others have.
    """
    known = [(of, f) for of, f in measured if f.value(headline) is not None]
    common = [(of, f) for of, f in known if f.common]
    most = max((f.examples for _, f in known), default=0)
    return common or [(of, f) for of, f in known if 2 * f.examples >= most]


def ranked(measured: Iterable[tuple[Point, Figures]], headline: Metric) -> list[tuple[Point, Figures]]:
    """Commits that can be compared, the best one first; of equal ones the newest."""

    def place(one: tuple[Point, Figures]) -> tuple[float, int, bytes]:
        return score(headline, one[1].value(headline)), one[0].round, one[0].id

    return sorted(comparable(measured, headline), key=place, reverse=True)


def better(a: Figures, b: Figures | None, headline: Metric) -> bool:
    """Whether figures of the common set are better than those of another commit, or these are none."""
    if b is None or not b.common:
        return True
    return score(headline, a.value(headline)) > score(headline, b.value(headline))


def standstill(measured: Iterable[tuple[int, Figures]], headline: Metric) -> Standstill | None:
    """How long the headline got no better, from (round, figures) of a head's history in any order.

    Only rounds that were measured count, so that figures which are missing never end a job.  The best commit
    is the first one, by round, that no other surpasses: an equal one is no better.
    """
    fair = comparable(measured, headline)
    if not fair:
        return None
    best_round, best = min(fair, key=lambda rf: (-score(headline, rf[1].value(headline)), rf[0]))
    value = best.value(headline)
    assert value is not None
    later = {round_ for round_, _ in fair if round_ > best_round}
    return Standstill(len(later), value, best_round)

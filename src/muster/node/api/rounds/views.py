"""Tells a job's history as a line of rounds, from a node's core. It only reads.

A history is a graph, the line through it that a reader follows is not: it goes on from the commit that the
reader saw last, over merges, so that every update is in one round only.  Where the reader has seen nothing
the line goes, at a merge, through the side with the larger share of the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from muster.errors import MusterError
from muster.history.counted import Counted, Key
from muster.history.credit import credits, parts
from muster.history.graph import Graph
from muster.history.point import Point
from muster.job.contribution_totals import values_of
from muster.job.figures import Figures
from muster.job.roles import newest
from muster.job.view import JobView
from muster.node.api.job_description import recipe_view
from muster.node.api.rounds.schema import Part, Round, Rounds
from muster.node.api.snapshot_builder import joules_of, why_of
from muster.node.core import Core
from muster.protocol.ids import CommitId, NodeId
from muster.protocol.parts import Folded

if TYPE_CHECKING:
    from muster.job.runner import JobRunner

ROUNDS_MAX = 50  # in one answer: some milliseconds
OVER = ("finished", "stopped")
FIGURES_ROUNDS = 2  # later than a round, and figures of it are not waited for any more


def rounds(core: Core, runner: JobRunner, after: str, number: int, limit: int = ROUNDS_MAX) -> Rounds:
    """The rounds after commit `after` (hex; "": from the beginning), or after round `number` where this node
    does not know that commit. Raises MusterError usage."""
    try:
        last = runner.view.graph.points.get(bytes.fromhex(after))
    except ValueError as error:
        raise MusterError("usage", f"{after!r} is no commit: {error}") from error
    held = runner.head()
    heads = runner.models.heads() if held is not None else runner.models.known_heads()
    head = held or (newest(heads) if heads else None)  # of a node without models, what it knows
    path = line(runner.view.graph, heads, last) if heads else []
    if last is None:
        path = [point for point in path if point.round > number]
    news = (point for point in path if not _no_news(runner.view.graph, point))
    limit = max(1, min(ROUNDS_MAX, limit))
    shown = list(islice(news, limit + FIGURES_ROUNDS))  # and what says that they are settled
    failed = runner.error is not None and runner.view.asker == core.node
    state, recipe = runner.state(), runner.view.job.recipe
    if held is None and head is not None and state not in OVER and _ends(runner.view, head):
        state = "finished"
    made = _Rounds(core, runner, head, state in OVER)
    return Rounds(
        job=runner.view.id.hex(),
        task=runner.view.job.task,
        state="failed" if failed else state,
        why=why_of(core, runner, head),
        over=state in OVER,
        error=runner.error,
        age_s=runner.commits.age_s(held) if held is not None else head.age_s if head is not None else 0.0,
        metrics={metric.name: metric.best for metric in runner.view.job.metrics},
        recipe=recipe_view(recipe),
        rounds=made.of(shown, last, limit),
        more=len(shown) > limit,
        event=core.log.last,
    )


def _ends(view: JobView, head: Point) -> bool:
    return view.finished(head) is not None and not view.closing_due(head)


def line(graph: Graph, heads: Iterable[Point], last: Point | None) -> list[Point]:
    """The points after `last` up to a head, oldest first, without the root. A head that comes from `last`
    goes first; where none does, `last` was replaced, and the line begins where both histories part."""
    heads = list(heads)
    if last is None:
        return _down(graph, newest(heads), set(), set())
    later = descendants(graph, last.id)
    own = [head for head in heads if head.id in later]
    if own:
        return _down(graph, newest(own), later, {last.id})
    return _down(graph, newest(heads), set(), {point.id for point in graph.ancestors(last.id)})


def descendants(graph: Graph, commit: CommitId) -> set[CommitId]:
    """A commit and all that come from it."""
    found, stack = {commit}, [commit]
    while stack:
        for child in graph.children.get(stack.pop(), ()):
            if child not in found:
                found.add(child)
                stack.append(child)
    return found


def _down(graph: Graph, head: Point, within: set[CommitId], ends: set[CommitId]) -> list[Point]:
    """From `head` to the root or a point of `ends`, neither of them included, newest last."""
    found: list[Point] = []
    point = head
    while point.id not in ends and point.parents:
        found.append(point)
        parents = point.parents
        if len(parents) == 2:
            a, b = sorted(parents, key=lambda parent: parent not in within)
            both = (a in within) == (b in within)
            chosen = b if both and graph.share(a, b) < 0.5 else a
        else:
            chosen = parents[0]
        point = graph.points[chosen]
    return found[::-1]


def _no_news(graph: Graph, point: Point) -> bool:
    """Whether a commit only closes or discards: it counts nothing, and its model is its parent's."""
    if point.updates or point.is_merge:
        return False
    return graph.points[point.parents[0]].params == point.params


class _Rounds:
    """Makes rounds of points."""

    def __init__(self, core: Core, runner: JobRunner, head: Point | None, over: bool) -> None:
        self._core, self._runner, self._head, self._over = core, runner, head, over
        self._view = runner.view

    def of(self, path: list[Point], last: Point | None, limit: int) -> list[Round]:
        """The first `limit` points of `path`, which follows `last`."""
        before = last
        if last is None and path:  # the reader has the rounds before, if there are any
            before = self._view.graph.points[path[0].parents[0]]
        known = [before.counted] if before is not None else []
        spent = sum(s.bytes for s in before.spent) if before is not None else 0
        found: list[Round] = []
        for place, point in enumerate(path[:limit]):
            total = sum(s.bytes for s in point.spent)
            found.append(self._round(point, self._parts(point, known), total, spent, len(path) - 1 - place))
            known = [*known[:1], point.counted]
            spent = max(spent, total)
        return found

    def _round(self, point: Point, parts: dict[str, Part], total: int, spent: int, later: int) -> Round:
        figures = self._view.figures(point.id)
        return Round(
            number=point.round,
            commit=point.id.hex(),
            age_s=round(point.age_s, 3),
            coordinator=self._core.trust.name(point.author) if point.author else "",
            kind="merge" if point.is_merge else "round" if point.updates else "closing",
            metrics=figures.values(self._view.job.metrics) if figures else {},
            measured=figures.examples if figures else 0,
            contributions=parts,
            steps=sum(part.steps for part in parts.values()),
            examples=sum(part.examples for part in parts.values()),
            bytes=max(0, total - spent),
            bytes_total=total,
            settled=self._settled(figures, later),
            joules=joules_of(point),
        )

    def _settled(self, figures: Figures | None, later: int) -> bool:
        """Whether the figures of a commit are all that there will be. Nodes that hold out their own samples
        measure a head when they train on it; the last one is measured on all samples of the common set."""
        if self._over and self._runner.may_leave():
            return figures is not None or later > 0 or self._own_only()
        if later or self._over:
            return later >= FIGURES_ROUNDS or (figures is not None and later > 0)
        return figures is not None and figures.common

    def _own_only(self) -> bool:
        """Whether nodes measure on samples of their own only: then nobody measures the last commit."""
        head = self._head
        found = (self._view.figures(p.id) for p in self._view.graph.ancestors(head.id)) if head else iter(())
        newest_figures = next((figures for figures in found if figures is not None), None)
        return newest_figures is not None and not newest_figures.common

    def _parts(self, point: Point, known: list[Counted]) -> dict[str, Part]:
        """Who gave what to `point` that none of `known` counts."""
        given: dict[Key, tuple[Folded, tuple[NodeId, ...], float | None]] = {}
        points, stack, seen = self._view.graph.points, [point.id], set[CommitId]()
        while stack:
            current = points[stack.pop()]
            if current.id in seen or any(counted >= current.counted for counted in known):
                continue
            seen.add(current.id)
            worths = values_of(self._view, current) or (None,) * len(current.folded)
            for (f, nodes), worth in zip(credits(current), worths, strict=True):
                key = Key(f.node, f.incarnation, f.sequence)
                if not any(key in counted for counted in known):
                    given.setdefault(key, (f, nodes, worth))
            stack += current.parents
        found = {n for f, nodes, _ in given.values() for n in (f.node, *nodes)}
        name = self._core.trust.name
        return {name(n): _part(n, list(given.values())) for n in sorted(found, key=name)}


def _part(node: NodeId, given: list[tuple[Folded, tuple[NodeId, ...], float | None]]) -> Part:
    """What of the updates `given`, each with the nodes that it counts for, is a node's."""
    own = [f for f, nodes, _ in given if nodes == (node,) == (f.node,)]
    mine = sum(dict(parts(f.examples, nodes)).get(node, 0) for f, nodes, _ in given)
    worths = [worth / len(nodes) for _, nodes, worth in given if node in nodes and worth is not None]
    return Part(
        updates=len(own),
        steps=sum(f.steps for f, _, _ in given if f.node == node),
        examples=mine,
        late=sum(f.staleness > 0 for f in own),
        share=round(mine / (sum(f.examples for f, _, _ in given) or 1), 4),
        value=sum(worths) if worths else None,
        stood_in=sum(node in nodes and f.node != node for f, nodes, _ in given),
    )

"""A job's history drawn like `git log --graph`: a pure function from commits to lines.

Newest first, every commit above its parents.  A lane is a column that waits for one commit; lane i stands at
character 2 i.  Lanes that wait for the same commit join to the left just above it (`|/`, over others
`|_|/`), a merge opens a lane to its right (`|\\`), and what stands further right moves over.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Protocol

from muster.cli.output import figure, size

LANES_PADDED = 8  # the text begins in one column up to so many lanes; beyond that it moves right


class DrawnCommit(Protocol):
    """What is drawn: `node.snapshot.CommitView` has it."""

    @property
    def id(self) -> str: ...
    @property
    def parents(self) -> list[str]: ...
    @property
    def round(self) -> int: ...
    @property
    def coordinator(self) -> str: ...
    @property
    def nodes(self) -> list[str]: ...
    @property
    def age_s(self) -> float: ...
    @property
    def figures(self) -> dict[str, float]: ...
    @property
    def bytes(self) -> int: ...
    @property
    def pruned_bytes(self) -> int | None: ...


def draw(commits: Sequence[DrawnCommit], metric: str, head: str = "") -> list[str]:
    """Lines of the graph, each commit with its figure of `metric`; `head` is marked.

    Unknown parents are left out.
    """
    rows = lanes([(c.id, known) for c, known in order(commits)])
    by_id = {c.id: c for c in commits}
    width = min(max((len(art) for art, _ in rows), default=0), 2 * LANES_PADDED - 1)
    names = max((len(_author(c)) for c in commits), default=0)
    return [
        art
        if commit is None
        else f"{art:<{width}}  {_figures(by_id[commit], metric, names)}{_mark(commit, head)}"
        for art, commit in rows
    ]


def order(commits: Sequence[DrawnCommit]) -> list[tuple[DrawnCommit, list[str]]]:
    """Newest first, children always before their parents; with the parents that are among `commits`."""
    by_id = {c.id: c for c in commits}
    parents = {c.id: [p for p in dict.fromkeys(c.parents) if p in by_id] for c in commits}
    children = dict.fromkeys(by_id, 0)
    for named in parents.values():
        for parent in named:
            children[parent] += 1

    def place(commit: str) -> tuple[float, int, str]:
        return -by_id[commit].age_s, -by_id[commit].round, commit

    ready = [place(commit) for commit, count in children.items() if not count]
    heapq.heapify(ready)
    found = []
    while ready:
        commit = heapq.heappop(ready)[2]
        found.append((by_id[commit], parents[commit]))
        for parent in parents[commit]:
            children[parent] -= 1
            if not children[parent]:
                heapq.heappush(ready, place(parent))
    return found


def lanes(commits: Iterable[tuple[str, list[str]]]) -> list[tuple[str, str | None]]:
    """Rows of (drawing, the commit that stands in it or None) for commits in order, each with its parents.

    >>> for art, commit in lanes([("d", ["b", "c"]), ("c", ["a"]), ("b", ["a"]), ("a", [])]):
    ...     print((art.ljust(4) + (commit or "")).rstrip())
    *   d
    |\\
    | * c
    * | b
    |/
    *   a
    """
    waiting: list[str] = []
    rows: list[tuple[str, str | None]] = []
    for commit, parents in commits:
        if commit not in waiting:
            waiting.append(commit)
        at = waiting.index(commit)
        while (last := _last(waiting, commit)) > at:
            rows.append((_join(len(waiting), at, last), None))
            del waiting[last]
        rows.append((" ".join("*" if lane == at else "|" for lane in range(len(waiting))), commit))
        if not parents:
            del waiting[at]
            rows.append((_close(len(waiting) + 1, at), None))  # or the next tip might seem to hang on it
            continue
        waiting[at] = parents[0]
        for number, parent in enumerate(parents[1:]):
            rows.append((_fork(len(waiting), at + number), None))
            waiting.insert(at + number + 1, parent)
    while rows and rows[-1][1] is None:
        rows.pop()
    return rows


def _last(waiting: list[str], commit: str) -> int:
    return len(waiting) - 1 - waiting[::-1].index(commit)


def _row(width: int, marks: dict[int, str]) -> str:
    return "".join(marks.get(column, " ") for column in range(width)).rstrip()


def _bars(first: int, end: int) -> dict[int, str]:
    return {2 * lane: "|" for lane in range(first, end)}


def _join(count: int, to: int, lane: int) -> str:
    """Lane `lane` joins lane `to` on its left, over those between; lanes on its right move over."""
    marks = _bars(0, lane) | {2 * right - 1: "/" for right in range(lane, count)}
    return _row(2 * count, marks | {2 * between + 1: "_" for between in range(to, lane - 1)})


def _close(count: int, lane: int) -> str:
    """Lane `lane` has ended; lanes on its right move over."""
    return _row(2 * count, _bars(0, lane) | {2 * right - 1: "/" for right in range(lane + 1, count)})


def _fork(count: int, lane: int) -> str:
    """A lane opens on the right of `lane`; lanes on its right move over."""
    return _row(2 * count, _bars(0, lane + 1) | {2 * right + 1: "\\" for right in range(lane, count)})


def _author(commit: DrawnCommit) -> str:
    return commit.coordinator or "merge"


def _figures(commit: DrawnCommit, metric: str, names: int) -> str:
    count = len(set(commit.nodes))
    nodes = f"{count} node{' ' if count == 1 else 's'}" if count else ""
    cells = (
        commit.id[:8],
        f"round {commit.round:<3}",
        f"{_author(commit):<{names}}",
        f"{nodes:>8}",
        f"{figure(metric, commit.figures.get(metric)):>7}",
        f"{size(commit.bytes) if commit.bytes else '-':>8}",
        *([f"pruned to {size(commit.pruned_bytes)}"] if commit.pruned_bytes is not None else []),
    )
    return "  ".join(cells)


def _mark(commit: str, head: str) -> str:
    return "  head" if commit == head else ""

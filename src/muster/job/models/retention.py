"""Decides which of a job's blobs a node may delete: pure functions.

Records are kept for ever.  An update's payload goes once a head counts it *whose parameters are held here*:
while that head could be lost, it would be rebuilt from the payload.  Parameters go only over the disk limit,
oldest first and forks last.  Pinned are heads, what a head that is a merge is computed from, the last few of
each line, the best one that was measured, and what is in use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from muster.history.counted import Key
from muster.history.graph import Graph
from muster.history.point import Point
from muster.job.view import JobView
from muster.protocol.ids import BlobId, CommitId

KEEP_LAST = 8  # commits of each head's line,
KEEP_MAX = 16  # of all its branches together: where merges are many, eight of each line would be forty


def spent_payloads(
    view: JobView, heads: Iterable[Point], done: set[Key], in_use: Collection[Key] = ()
) -> list[BlobId]:
    """The blobs of updates that a held head counts, but for those `in_use`.

    The updates' keys are added to `done`, and not looked at again.
    """
    counts = [h.counted for h in heads]
    found = []
    for key, update in view.updates.items():
        if key not in done and key not in in_use and any(key in c for c in counts):
            done.add(key)
            if update.record.payload.blob is not None:
                found.append(update.record.payload.blob)
    return found


def pinned(graph: Graph, heads: Iterable[Point], in_use: Iterable[CommitId]) -> set[CommitId]:
    """Commits whose parameters stay whatever the disk limit says. `heads`: those held and those known."""
    keep = set(in_use)
    for head in heads:
        keep |= _line(graph, head)
    return keep


def _line(graph: Graph, head: Point) -> set[CommitId]:
    """A head, the last few commits before it on every side of its merges, and what it is computed from."""
    keep: set[CommitId] = set()
    front = {head.id: head}
    for _ in range(KEEP_LAST):
        keep |= front.keys()
        front = {c: graph.points[c] for p in front.values() for c in p.parents if c not in keep}
        if len(keep) + len(front) > KEEP_MAX:
            break
    return keep | origins(graph, head)


def origins(graph: Graph, head: Point) -> set[CommitId]:
    """What a head that is a merge is computed from, down to commits.

    Nothing behind a commit is needed for it, because a commit's own parameters can be fetched.
    """
    found: set[CommitId] = set()
    front = [head]
    while front:
        front = [graph.points[c] for p in front if p.is_merge for c in p.parents if c not in found]
        found |= {p.id for p in front}
    return found


def collectable(
    graph: Graph,
    keep: set[CommitId],
    blob_of: Callable[[CommitId], BlobId | None],
    frozen: BlobId | None = None,
) -> list[BlobId]:
    """Blobs of parameters and deltas that may be deleted, oldest first, those of forks last; then what the
    task does not train, which the next job may want."""
    kept = {blob_of(c) for c in keep}
    kept |= {d for c in keep if (d := delta_of(graph.points.get(c))) is not None}
    found: dict[BlobId, None] = {}
    forks = {c for c, children in graph.children.items() if len(children) > 1}
    for point in sorted(graph.points.values(), key=lambda p: (p.id in forks, p.round, p.id)):
        if point.id in keep:
            continue
        for blob in (blob_of(point.id), delta_of(point)):
            if blob is not None and blob not in kept:
                found[blob] = None
    if frozen is not None:
        found[frozen] = None
    return list(found)


def delta_of(point: Point | None) -> BlobId | None:
    """The blob with a commit's delta, where it has one that is not inside the record."""
    return point.delta_blob if point is not None else None

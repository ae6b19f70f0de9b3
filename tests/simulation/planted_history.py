"""Planted bugs of what is kept, counted, merged and carried."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace
from planting import Patch, bug

from muster.history import graph, state
from muster.history.counted import Counted, Key
from muster.history.graph import Graph
from muster.history.point import Point
from muster.history.state import State
from muster.job import collector, roles
from muster.job.coordinator import commit_writer, rounds
from muster.job.coordinator.loop import Coordinator
from muster.job.models import job_fetcher
from muster.job.models.store import ModelStore
from muster.job.participant import loop as participate
from muster.job.participant import update_writer
from muster.job.view import JobView
from muster.network.sync.inbound import Inbound
from muster.network.sync.presence import Presence
from muster.network.sync.record_sync import RecordSync
from muster.node.energy.account import EnergyAccount
from muster.protocol.envelope import id_of
from muster.protocol.records import Commit, Merge
from muster.storage.memory import MemoryStore


@bug("the disk forgets its last records at a crash (no fsync before announcing)")
def skip_fsync() -> list[Patch]:
    real = MemoryStore.crash

    def crash(self: MemoryStore, rng: Any) -> None:
        real(self, rng)
        for record in self._records[-3:][::-1]:
            self._remove_last(record)

    return [(MemoryStore, "crash", crash)]


@bug("update, residual and sequence number are not one transaction")
def no_transaction() -> list[Patch]:
    @contextlib.contextmanager
    def transaction(self: MemoryStore) -> Iterator[None]:
        self._must_have_room()
        yield

    return [(MemoryStore, "transaction", transaction)]


@bug("a commit folds an update that its history counts already")
def count_twice() -> list[Patch]:
    real = JobView.uncounted

    def uncounted(self: JobView, counted: Counted) -> Any:
        found = real(self, counted)
        old = [u for k, u in sorted(self.updates.items()) if k in counted]
        return sorted([*found, *old[-1:]], key=lambda u: u.key) if found else found

    return [(JobView, "uncounted", uncounted)]


@bug("what a lossy message left out is forgotten instead of carried to the next")
def forget_residual() -> list[Patch]:
    real = update_writer._encode

    def encode(store: Any, job: Any, layout: Any, codec: str, update: Any, up: Any, *rest: Any) -> Any:
        return real(store, job, layout, codec, update, None, *rest)

    return [(update_writer, "_encode", encode)]


@bug("a merge keeps its first parent's parameters")
def drop_second_parent() -> list[Patch]:
    return [(Graph, "share", lambda self, a, b: 1.0)]


@bug("a merge counts only what its first parent counts")
def forget_second_history() -> list[Patch]:
    real = state.merged
    return [(state, "merged", lambda a, b: State(a.counted, real(a, b).spent))]


@bug("a digest leaves out what was spent")
def short_digest() -> list[Patch]:
    real = graph.digest
    return [(graph, "digest", lambda found, roster: real(State(found.counted, {}), roster))]


@bug("a coordinator writes its digests wrong")
def wrong_digest() -> list[Patch]:
    real = Graph.completed

    def completed(self: Graph, record: Commit, author: bytes) -> Commit:
        made = real(self, record, author)
        return replace(made, digest=bytes(32)) if made.digest else made

    return [(Graph, "completed", completed)]


@bug("who joins in a commit on a merge joins again")
def joins_again() -> list[Patch]:
    real = graph._join_rosters
    return [(graph, "_join_rosters", lambda a, b: real(a, ()))]


@bug("of two coordinators in contact neither yields")
def nobody_yields() -> list[Patch]:
    def mine(self: Coordinator, heads: Any) -> bool:
        return not self._state.blocked and bool(heads)

    return [(Coordinator, "_is_mine", mine)]


@bug("the weights of a merge are not capped, so a node that ran ahead takes over")
def uncapped() -> list[Patch]:
    def share(self: Graph, a: bytes, b: bytes) -> float:
        x, y = sum(self.only(a, b).values()), sum(self.only(b, a).values())
        return x / (x + y) if x + y else 0.5

    return [(Graph, "share", share)]


@bug("an island judges the merge by its own data: each node prefers the side that it was on")
def own_data() -> list[Patch]:
    real = ModelStore.merger

    def merger(self: ModelStore, a: bytes, b: bytes) -> Any:
        view, me = self._view, self._context.node
        mine = [c for c in (a, b) if any(f.node == me for p in view.graph.ancestors(c) for f in p.folded)]
        share = view.graph.share
        favoured = 0.9 if mine[:1] == [a] else 0.1
        view.graph.share = lambda x, y: favoured  # type: ignore[method-assign]
        try:
            return real(self, a, b)
        finally:
            view.graph.share = share  # type: ignore[method-assign]

    return [(ModelStore, "merger", merger)]


@bug("a merge names its parents in the order in which they were met")
def parents_as_met() -> list[Patch]:
    def merge_of(job: bytes, a: bytes, b: bytes) -> Any:
        record = Merge(job, (max(a, b), min(a, b)))
        from muster.protocol.ids import NOBODY

        return id_of(NOBODY, record), record

    real = commit_writer.merge_of

    def either(job: bytes, a: bytes, b: bytes) -> Any:
        odd = (a[0] + b[0]) % 2
        return merge_of(job, a, b) if odd else real(job, a, b)

    def share(self: Graph, a: bytes, b: bytes) -> float:
        return 0.75

    return [(commit_writer, "merge_of", either), (Graph, "share", share)]


@bug("a node that lost its disk begins its words anew, and nobody listens: they know newer ones")
def old_words() -> list[Patch]:
    return [
        (Presence, "supersede_old_incarnation", lambda self, heartbeat: None),
        (Presence, "lively", lambda self, node: False),
    ]


@bug("a neighbour's cursor is kept although the neighbour's disk is another one")
def stale_cursor() -> list[Patch]:
    def begin_incarnation(self: Inbound, incarnation: int) -> None:
        self.incarnation = incarnation

    return [(Inbound, "begin_incarnation", begin_incarnation)]


@bug("a node alone goes on at once, and ends everybody's job")
def alone_at_once() -> list[Patch]:
    return [
        (rounds, "min_nodes", lambda view, head: 1),
        (rounds, "ALONE_PATIENCES", 0),
        (roles, "ALONE_PATIENCES", 0),
    ]


@bug("collecting deletes the payload of an update as soon as any head that is known of counts it")
def collect_too_early() -> list[Patch]:
    def spent(view: JobView, heads: Any, done: set[Key], in_use: Any) -> list[bytes]:
        done.update(view.updates)
        return [u.record.payload.blob for u in view.updates.values() if u.record.payload.blob is not None]

    return [(collector, "spent_payloads", spent)]


@bug("collecting deletes the parameters of heads, too")
def collect_heads() -> list[Patch]:
    return [(collector, "pinned", lambda graph, heads, in_use: set(in_use))]


@bug("the counted set leaves out the incarnation: a new disk's first updates look counted")
def no_incarnation() -> list[Patch]:
    def contains(self: Counted, key: Key) -> bool:
        return any(
            node == key.node and any(first <= key.sequence <= last for first, last in spans)
            for (node, _), spans in self._lives.items()
        )

    return [(Counted, "__contains__", contains)]


@bug("only the coordinator pulls payloads: a node that meets others one at a time carries nothing")
def nobody_carries() -> list[Patch]:
    return [(job_fetcher.JobFetcher, "_carries", lambda self, head: False)]


@bug("a lost announcement is not noticed")
def no_gap() -> list[Patch]:
    async def compare(self: RecordSync, peer: Any, request: Any) -> None:
        peer.inbound.gap = False
        peer.inbound.synced_up_to = max(peer.inbound.synced_up_to, 0)

    return [(RecordSync, "_compare", compare)]


@bug("a node that finds its disk full throws away what it trained")
def full_disk_loses() -> list[Patch]:
    async def when_room(self: Any, write: Callable[[], Any]) -> Any:
        return await write()

    return [(participate.Participant, "when_room", when_room)]


@bug("updates that come after the end are left lying")
def never_closes() -> list[Patch]:
    async def close(self: Coordinator, head: Any) -> None:
        return None

    return [(Coordinator, "_close", close)]


@bug("a merge takes the mean instead of the parents' work")
def plain_mean() -> list[Patch]:
    return [(Graph, "share", lambda self, a, b: 0.5)]


@bug("a commit does not add the joules of its updates")
def joules_forgotten() -> list[Patch]:
    real = state._spent_after

    def spent_after(before: Any, *given: Any) -> Any:
        made = real(before, *given)
        return {n: replace(s, joules=before[n].joules if n in before else 0.0) for n, s in made.items()}

    return [(state, "_spent_after", spent_after)]


@bug("a node says the same joules in each of its updates again")
def joules_twice() -> list[Patch]:
    return [(EnergyAccount, "charge", lambda self, job, millijoules: None)]


@bug("a job closes with the model that it began from, however bad it was")
def closes_with_the_first() -> list[Patch]:
    real = commit_writer.CommitWriter.close

    def close(self: commit_writer.CommitWriter, head: Point, blob: bytes) -> bytes:
        root = next(p.record for p in self._view.graph.ancestors(head.id) if not p.parents)
        return real(self, head, root.params if isinstance(root, Commit) else blob)

    return [(commit_writer.CommitWriter, "close", close)]

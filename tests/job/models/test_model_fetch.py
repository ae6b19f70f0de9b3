"""How a node comes to hold a commit's parameters: by deltas or as a snapshot."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from histories import B
from lineage import LAYOUT, Getter, Lineage

from muster.compression import parse
from muster.compression.model import encode_update
from muster.job.models import delta_path as delta_paths
from muster.job.models.model_fetch import QUIET_S
from muster.protocol.ids import CommitId
from muster.protocol.parts import Payload
from muster.simulation.virtual.event_loop import run

ZEROS = np.zeros(1000, np.float32)


def get(node: Getter, commit: CommitId, until_s: float = 100.0) -> None:
    run(node.fetcher.ensure(commit), until_s=until_s)
    assert node.has_all_of(commit)
    assert not node.models.in_use()


def healed(made: Lineage, sides: int = 5, after: int = 2) -> tuple[list[CommitId], list[CommitId]]:
    """Two branches, merged: our line from the fork on; the merge, and what came after it."""
    fork = made.commit(made.root)
    ours, theirs = made.line(fork, sides), made.line(fork, sides, B)
    merged = made.merge(ours[-1], theirs[-1])
    return [fork, *ours], [merged, *made.line(merged, after)]


def test_the_smaller_of_deltas_and_snapshot_is_fetched() -> None:
    made = Lineage()
    line = made.line(made.root, 3)
    big = made.commit(made.commit(line[-1], codec="dense32"), codec="dense32")
    node = Getter(made, [made.root])
    get(node, line[-1])
    assert node.transfers.asked == [made.delta(c).blob for c in line]
    get(node, big)
    assert node.transfers.asked[3:] == [made.params(big)]


def test_behind_a_merge_deltas_are_fetched_where_they_are_less() -> None:
    """After each healed partition whole models were fetched, one for each later head."""
    made = Lineage()
    ours, after = healed(made)
    node = Getter(made, ours)
    get(node, after[-1])
    assert len(node.transfers.asked) == 5 + 2
    assert not any(node.fetched_whole(c) for c in made.view.graph.points)
    empty = Getter(made, [])
    get(empty, after[-1])
    assert empty.transfers.asked == [made.params(after[-1])]


def test_of_a_snapshot_that_came_in_part_only_the_rest_counts() -> None:
    made = Lineage()
    ours, after = healed(made)
    node = Getter(made, ours)
    deltas_bytes = sum(made.delta(p.id).size_bytes for p in made.view.graph.points.values() if p.author == B)
    deltas_bytes += sum(made.delta(c).size_bytes for c in after[1:])
    node.transfers.part[made.params(after[-1])] = LAYOUT.blob_bytes - deltas_bytes
    get(node, after[-1])
    assert node.transfers.asked == [made.params(after[-1])]


def test_a_path_that_is_too_long_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Lineage()
    line = made.line(made.root, 4)
    monkeypatch.setattr(delta_paths, "CHAIN_MAX", 3)
    node = Getter(made, [made.root])
    get(node, line[-1])
    assert node.transfers.asked == [made.params(line[-1])]


@pytest.mark.parametrize(
    "delta",
    [
        Payload("stc:0.02", 3, inline=b"\xff\xff\xff"),
        Payload("none such", 2, inline=b"\xdf\x00"),
        Payload("dense32", 0, inline=encode_update(parse("dense32"), LAYOUT, {"w": ZEROS})),
    ],
    ids=["damaged", "of a family unknown here", "of another commit"],
)
def test_deltas_that_do_not_fit_give_way_to_the_snapshot(delta: Payload) -> None:
    made = Lineage()
    line = made.line(made.root, 2)
    spoilt = made.spoil(line[1], delta)
    node = Getter(made, [line[0]])
    get(node, spoilt)
    assert node.transfers.asked == [made.params(spoilt)]
    assert len(node.events) == 1
    assert "do not fit" in node.events[0]
    assert node.has_all_of(line[0])  # a delta of nothing leads to what is held: that is not deleted


def test_deltas_that_do_not_fit_on_the_other_side_of_a_merge_give_way_to_the_snapshot() -> None:
    made = Lineage()
    fork = made.commit(made.root)
    ours, theirs = made.line(fork, 2), made.line(fork, 2, B)
    spoilt = made.spoil(theirs[1], made.delta(ours[0]))
    after = made.commit(made.merge(ours[-1], spoilt))
    node = Getter(made, [*ours, fork])
    get(node, after)
    assert node.transfers.asked[-1] == made.params(after)
    assert len(node.events) == 1


def test_deltas_that_nobody_has_any_more_give_way_to_the_snapshot() -> None:
    """Those of old commits are deleted over the disk limit; they were waited for for ever."""
    made = Lineage()
    line = made.line(made.root, 3)
    node = Getter(made, [made.root])
    gone = made.delta(line[1]).blob
    assert gone is not None
    node.transfers.unavailable.add(gone)

    async def main() -> None:
        await node.fetcher.ensure(line[-1])
        assert QUIET_S < asyncio.get_running_loop().time() < QUIET_S + 5.0
        assert node.transfers.coming == []

    run(main(), until_s=100.0)
    assert node.has_all_of(line[-1])
    assert node.transfers.asked[-1] == made.params(line[-1])


def test_a_snapshot_beside_silent_deltas_ends_when_they_come_again() -> None:
    """Neither comes through a cut link; afterwards the deltas are less."""
    made = Lineage()
    line = made.line(made.root, 3)
    node = Getter(made, [made.root])
    blobs = [made.params(line[-1]), *[b for c in line if (b := made.delta(c).blob)]]
    node.transfers.unavailable.update(blobs)

    async def main() -> None:
        getting = asyncio.create_task(node.fetcher.ensure(line[-1]))
        await asyncio.sleep(2 * QUIET_S + 0.5)
        assert node.transfers.coming == [blobs[1], blobs[0]]
        node.transfers.unavailable -= set(blobs[1:])
        await asyncio.sleep(1.5)
        assert node.transfers.coming == [blobs[2]]
        await getting

    run(main(), until_s=100.0)
    assert node.has_all_of(line[-1])


def test_a_snapshot_ends_when_a_path_of_deltas_appears() -> None:
    made = Lineage()
    far = made.commit(made.root, codec=None)
    line = made.line(far, 2)
    node = Getter(made, [made.root])
    node.transfers.unavailable.add(made.params(line[-1]))

    async def main() -> None:
        getting = asyncio.create_task(node.fetcher.ensure(line[-1]))
        await asyncio.sleep(3.0)
        assert node.transfers.coming == [made.params(line[-1])]
        node.take(far)
        await asyncio.sleep(0.5)
        assert node.transfers.coming == [made.delta(line[0]).blob]
        await getting

    run(main(), until_s=100.0)
    assert node.has_all_of(line[-1])


def test_what_a_path_leads_through_is_in_use_until_it_is_followed() -> None:
    made = Lineage()
    ours, after = healed(made)
    node = Getter(made, ours)

    async def main() -> None:
        getting = asyncio.create_task(node.fetcher.ensure(after[-1]))
        await asyncio.sleep(2.5)
        merged = made.point(after[0])
        assert {merged.id, *merged.parents} <= set(node.models.in_use())
        getting.cancel()
        await asyncio.gather(getting, return_exceptions=True)
        assert node.models.in_use() == []
        assert node.transfers.coming == []
        again = [asyncio.create_task(node.fetcher.ensure(c)) for c in (after[-1], after[-1], after[0])]
        await asyncio.gather(*again)

    run(main(), until_s=100.0)
    assert node.has_all_of(after[-1])
    assert node.models.in_use() == []


def test_where_what_a_path_begins_from_was_deleted_the_snapshot_is_fetched() -> None:
    made = Lineage()
    line = made.line(made.root, 2)
    node = Getter(made, [made.root])

    async def main() -> None:
        getting = asyncio.create_task(node.fetcher.ensure(line[-1]))
        getting.get_loop().call_soon(node.models.drop, [made.params(made.root)])
        await getting

    run(main(), until_s=100.0)
    assert node.has_all_of(line[-1])


def test_merges_of_merges_are_made_without_a_deep_stack() -> None:
    made = Lineage()
    low, high = made.commit(made.root), made.commit(made.root, author=B)
    top = made.merge(low, high)
    for turn in range(500):
        top = made.merge(top, (low, high)[turn % 2])
    node = Getter(made, [low])
    get(node, top)
    assert node.transfers.asked == [made.params(high)]


def test_a_fetch_that_leads_to_nothing_wanted_ends() -> None:
    """It ended only when it stalled: a whole model of a head that others had replaced came to its end."""
    made = Lineage()
    ours, theirs = made.commit(made.root), made.commit(made.root, author=B, codec=None)
    node = Getter(made, [made.root, ours])
    node.transfers.unavailable.add(made.params(theirs))

    async def main() -> None:
        node.fetcher.fetch_heads()
        await asyncio.sleep(3.0)
        assert node.transfers.coming == [made.params(theirs)]
        on_it = made.commit(theirs)
        node.view.absorb(made.entries[-1])
        node.fetcher._grew_s[theirs] = asyncio.get_running_loop().time()  # it does not stall
        node.fetcher.fetch_heads()
        await asyncio.sleep(0.5)
        assert made.params(theirs) in node.transfers.coming  # what comes after it can be made from it
        node.take(on_it)
        before_bytes = node.store.used_bytes()
        node.store.partial(made.params(theirs), LAYOUT.blob_bytes).write(0, bytes(LAYOUT.blob_bytes))
        assert node.store.used_bytes() > before_bytes
        node.fetcher.fetch_heads()
        await asyncio.sleep(0.5)
        assert node.transfers.coming == []
        assert node.store.used_bytes() == before_bytes  # what came of it would lie there for good
        await node.fetcher.close()

    run(main(), until_s=100.0)

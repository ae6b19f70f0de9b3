"""A start reads what came since the last process, and not every record that was ever kept."""

from __future__ import annotations

import asyncio

import pytest
from exchange_line import Node, with_line

from muster.network.sync import exchange
from muster.simulation.virtual.network import SimNetwork
from muster.simulation.virtual.pipe import PathParams

KEPT = 300


def digest(node: Node) -> bytes:
    """Worked out from all records."""
    found = 0
    for stored in node.store.since(0, 1 << 30):
        if stored.id not in node.ledger.quarantined:
            found ^= int.from_bytes(stored.id[16:], "little")
    return found.to_bytes(16, "little")


@pytest.mark.parametrize("how", ["closed", "killed", "other rules", "lost its end"])
def test_a_start_reads_what_is_new(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PLANS_AMONG", 10)

    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        a, b = nodes
        for number in range(KEPT):
            a.publish(str(number))
        await a.close()
        if how == "killed":  # some more came, and nothing was noted of them
            for number in range(20):
                a.publish(f"more {number}")
        if how == "lost its end":  # the disk has less than was noted
            a.store._undo_add(a.store._records[-1])
        again = nodes[0] = Node(network, "a", a.store)
        if how == "other rules":
            again.ledger.quarantined.add(a.store.since(50, 1)[0].id)
        read: list[int] = []
        since = a.store.since

        def counted(after: int, limit: int) -> list:  # type: ignore[type-arg]
            page = since(after, limit)
            read.append(len(page))
            return page

        monkeypatch.setattr(a.store, "since", counted)
        await again.exchange.start()
        monkeypatch.setattr(a.store, "since", since)
        assert again.exchange.shared.digest_bytes() == digest(again)
        whole = how in ("other rules", "lost its end")
        assert (sum(read) >= KEPT - 1) == whole
        assert whole or sum(read) <= 40
        await again.link.start()
        await asyncio.sleep(30)
        assert len(b.heard()) >= KEPT - 2

    with_line(scene, PathParams(), "ab")

"""What one end of a simulated wire does with news of the other is no business of the wire."""

from __future__ import annotations

import asyncio
import random

import pytest

from muster.protocol.ids import NodeId
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.network import SimNetwork, Timing

A, B = bytes([1]) * 32, bytes([2]) * 32


def test_a_listener_that_fails_does_not_keep_a_link_from_coming_back() -> None:
    """Seed 20047: a write failed when a node noticed a restart; the two never met again."""
    met: list[tuple[bool, bool]] = []

    def fail(node: NodeId, up: bool) -> None:
        if not up:
            raise ZeroDivisionError

    async def main() -> None:
        network = SimNetwork(random.Random(1), Timing(lease_s=10.0, connect_s=0.5))
        network.connect(A, B)
        a, b = network.link(A, "alpha"), network.link(B, "beta")
        a.watch(fail)
        await a.start()
        await b.start()
        await asyncio.sleep(2)
        network.kill(B)
        again = network.link(B, "beta")
        await again.start()  # before a's lease is over, so that a hears of the end at the new beginning
        await asyncio.sleep(2)
        met.append((B in a.neighbours(), A in again.neighbours()))

    with pytest.raises(ZeroDivisionError):
        run(main())
    assert met == [(True, True)]

"""What a commit takes on a link: deflated against its parent, beside its payload.

Run: python bench/scale/wire.py [3 10 30]

The commits are those of simulated jobs of so many nodes (simulated.py, groups), each compressed as the asker
sends it to a neighbour.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from simulated import measured

from muster.network.sync.record_compression.compressor import RecordCompressor
from muster.protocol.envelope import decode, unpack
from muster.protocol.records import Commit
from muster.simulation.world import World

ROUNDS, FIRST = 10, 3


def sizes(world: World) -> list[tuple[int, int]]:
    """Of each round's commit: bytes of the record, and on the link beside its payload."""
    asker = next(iter(world.machines.values()))
    compressor, found = RecordCompressor(asker.disk, asker.node), []
    for stored in asker.disk.select("commit", world.jobs[0].id):
        body = unpack(stored.wire).body
        record = decode(body)
        if isinstance(record, Commit) and record.round >= FIRST and record.folded:
            payload = len(record.delta.inline or b"") if record.delta is not None else 0
            found.append((len(body), len(compressor.compress(stored.id, stored.wire)) - payload))
    return found


def main(numbers: list[int]) -> None:
    close = World.close
    for nodes in numbers:
        found: list[tuple[int, int]] = []

        async def noted(self: World, found: list[tuple[int, int]] = found) -> None:
            found += sizes(self)
            await close(self)

        patched: Any = noted
        World.close = patched  # type: ignore[method-assign]
        measured(nodes, "groups", ROUNDS)
        record, link = (median(column) for column in zip(*found, strict=True))
        print(f"{nodes} nodes: {record:.0f} bytes of the record, {link:.0f} on a link beside the payload")


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or [3, 10, 30])

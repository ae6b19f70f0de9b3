"""The links of a LAN: engine sessions find each other by beacons; some go at once, and the rest closes up.

    python bench/scale/lan_links.py [--nodes 40] [--lose 10] [--json FILE]

All are in one process and start one after the other without pauses; beacons go over all interfaces of this
machine.  Said are links a node, the longest path, and how long it took until all were connected: after the
start of the last one, and after the loss (all neighbours of one node, and others by chance).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from muster.network.transport.zenoh.link import ZenohLink
from muster.network.trust.identity import init_fleet, issue, load_bundle
from muster.protocol.ids import NodeId

STABLE_S = 10.0  # without a change
LIMIT_S = 180.0


def neighbours(links: list[ZenohLink]) -> dict[NodeId, set[NodeId]]:
    here = {link.node for link in links}
    return {link.node: set(link.neighbours()) & here for link in links}


def longest_path(found: dict[NodeId, set[NodeId]]) -> int | None:
    """None while somebody does not reach everybody."""
    most = 0
    for start in found:
        reached, edge, steps = {start}, {start}, 0
        while edge := {o for node in edge for o in found[node]} - reached:
            reached |= edge
            steps += 1
        if len(reached) < len(found):
            return None
        most = max(most, steps)
    return most


async def settled(links: list[ZenohLink]) -> dict[str, Any]:
    """What they are when nothing changes any more."""
    began_s = changed_s = time.monotonic()
    connected_s: float | None = None
    before: dict[NodeId, set[NodeId]] = {}
    while time.monotonic() < began_s + LIMIT_S:
        found = neighbours(links)
        now_s = time.monotonic()
        if found != before:
            before, changed_s = found, now_s
        if connected_s is None and longest_path(found) is not None:
            connected_s = now_s - began_s
        if connected_s is not None and now_s - changed_s > STABLE_S:
            break
        await asyncio.sleep(0.1)
    counts = sorted(map(len, before.values()))
    return {
        "connected_s": connected_s, "settled_s": changed_s - began_s, "links": sum(counts) / len(counts),
        "least": counts[0], "most": counts[-1], "longest_path": longest_path(before),
    }  # fmt: skip


async def measure(count: int, lose: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        fleet = init_fleet(Path(folder) / "fleet", "bench")
        identities = [load_bundle(issue(fleet.directory, f"n{number:03d}")) for number in range(count)]
        links = [ZenohLink(identity, [], [], discovery=True) for identity in identities]
        try:
            for link in links:
                await link.start()
            start = await settled(links)
            alone = rng.choice(links)
            gone = [link for link in links if link.node in alone.neighbours()][:lose]
            others = [link for link in links if link not in gone and link is not alone]
            gone += rng.sample(others, lose - len(gone))
            left = [link for link in links if link not in gone]
            await asyncio.gather(*(link.close() for link in gone))
            return {"nodes": count, "start": start, "lost": lose, "after": await settled(left)}
        finally:
            await asyncio.gather(*(link.close() for link in links), return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--lose", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.nodes, arguments.lose, arguments.seed))
    for name in ("start", "after"):
        print(name, ", ".join(f"{key} {value}" for key, value in result[name].items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

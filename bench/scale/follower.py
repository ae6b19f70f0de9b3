"""A real daemon that follows a job of many nodes: memory, disk and time, for what its history holds.

Run: python bench/scale/follower.py [--nodes 100 300 1000] [--rounds 8] [--to FILE]

The job is played by simulated nodes (groups, as in scale.py), with a real fleet's keys and certificates; of
1,000 nodes 300 train.  What its asker keeps becomes the home of a real daemon, and another one with an empty
home, which takes no part, links with it over loopback and gets everything: each record and each signature is
checked as in the field.  A size that the file has already is not run again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from simulated import LIMIT_S, begun, in_virtual_time, spec_of

from muster.network.transport.zenoh.config import free_endpoint
from muster.network.trust.identity import Fleet, FleetVerifier, Identity, init_fleet, issue, load_bundle
from muster.network.trust.signing import VerifiedMember
from muster.node.api.client import Client, answers
from muster.protocol.ids import NodeId
from muster.simulation import machine
from muster.storage.disk import DiskStore
from muster.storage.memory import MemoryStore

TRAIN_MOST = 300  # nodes that train; the others follow
PAGE = 500  # records at a time
UP_S, FOLLOW_S, SETTLE_S = 60.0, 1800.0, 20.0


class TrustingVerifier:
    """Vouches for all who have a certificate of the fleet; a thousand simulated nodes that check a real
    signature each would take hours. The daemons check them."""

    def __init__(self, fleet: Fleet) -> None:
        self.authority: NodeId = fleet.node
        self._real = FleetVerifier(fleet.ca_certificate)
        self._known: dict[bytes, VerifiedMember] = {}

    def member(self, certificate: bytes) -> VerifiedMember:
        if certificate not in self._known:
            seen = self._real.member(certificate)
            self._known[certificate] = replace(seen, verify=lambda signature, data: True)
        return self._known[certificate]

    def by_authority(self, signature: bytes, data: bytes) -> bool:
        return True


def played(nodes: int, rounds: int, fleet: Fleet) -> MemoryStore:
    """What the asker keeps after so many rounds of a job that goes on."""
    trains = min(nodes, TRAIN_MOST)
    spec = spec_of(trains, "groups", rounds + 100, seed=1, idle=nodes - trains)

    @cache
    def identity(name: str) -> Identity:
        return load_bundle(issue(fleet.directory, name))

    verifier = TrustingVerifier(fleet)
    machine.PretendIdentity = identity  # type: ignore[misc,assignment]
    machine.PretendVerifier = lambda: verifier  # type: ignore[misc,assignment]

    async def play() -> MemoryStore:
        world = await begun(spec)
        asker = world.machines[spec.nodes[0].name]
        head = None
        while (head is None or head.round < rounds) and world.now() < LIMIT_S:
            await asyncio.sleep(0.5)
            runner = asker.runner(world.jobs[0].id)
            head = runner.head() if runner is not None else None
        await world.close()
        return asker.disk

    return in_virtual_time(play())


def write_home(disk: MemoryStore, home: Path) -> int:
    """A daemon's home of a simulated disk; how many records it holds."""
    store = DiskStore(home)
    after = count = 0
    for blob, _ in disk.blobs():
        store.put_blob(bytes(disk.read_blob(blob)))
    while page := disk.since(after, PAGE):
        with store.transaction():
            for kept in page:
                store.add(kept.id, kept.kind, kept.job, kept.wire, kept.source)
        after, count = page[-1].sequence, count + len(page)
    store.close()
    return count


class Daemon:
    """A real one on loopback that takes part in nothing."""

    def __init__(self, folder: Path, name: str, bundle: Path, connect: list[str]) -> None:
        self.home, self.port = folder / name, free_endpoint("127.0.0.1").port
        self.home.mkdir(exist_ok=True)
        (folder / f"{name}.toml").write_text(
            f'name = "{load_bundle(bundle).name}"\nhome = "{self.home}"\nbundle = "{bundle}"\n'
            f'listen = ["127.0.0.1:{self.port}"]\nconnect = {json.dumps(connect)}\ndiscovery = false\n'
            "[policy]\naccept = false\n"
        )
        words = [sys.executable, "-m", "muster.cli.main", "node", "--config", str(folder / f"{name}.toml")]
        self.log = folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        self.until(lambda: answers(self.home), UP_S)
        self.client = Client(self.home, timeout_s=120.0)

    def until(self, holds: Callable[[], object], limit_s: float) -> None:
        end_s = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < end_s, self.log.read_text("utf-8", "replace")
            time.sleep(0.5)

    def memory_mb(self) -> float:
        return round(self.client.snapshot().node.memory_bytes / 1e6, 1)

    def commits(self) -> int:
        """How many it keeps; of the model itself, who takes no part keeps nothing."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home}/store.sqlite?mode=ro", uri=True)) as store:
            return int(store.execute("SELECT count(*) FROM record WHERE kind = 'commit'").fetchone()[0])

    def cpu_s(self) -> float:
        return sum(psutil.Process(self.process.pid).cpu_times()[:2])

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def measured(nodes: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="follower-") as where:
        folder = Path(where)
        fleet = init_fleet(folder / "fleet", "north")
        disk = played(nodes, rounds, fleet)
        records = write_home(disk, folder / "asker")
        del disk
        watcher = issue(fleet.directory, "watcher")
        port = free_endpoint("127.0.0.1").port
        follower = Daemon(folder, "follower", watcher, [f"127.0.0.1:{port}"])
        daemons = [follower]
        try:
            time.sleep(SETTLE_S)
            idle_mb, cpu_s = follower.memory_mb(), follower.cpu_s()
            began_s = time.monotonic()
            asker = Daemon(
                folder, "asker", fleet.directory / "nodes" / "n0.pem", [f"127.0.0.1:{follower.port}"]
            )
            daemons.append(asker)
            follower.until(lambda: follower.commits() == asker.commits(), FOLLOW_S)
            took_s = time.monotonic() - began_s
            time.sleep(SETTLE_S)
            return {
                "nodes": nodes,
                "in_round": min(nodes, TRAIN_MOST),
                "rounds": rounds,
                "records": records,
                "idle_mb": idle_mb,
                "follower_mb": follower.memory_mb(),
                "asker_mb": asker.memory_mb(),
                "followed_s": round(took_s, 1),
                "cpu_s": round(follower.cpu_s() - cpu_s, 1),
                "store_mb": round(
                    sum(p.stat().st_size for p in follower.home.glob("store.sqlite*")) / 1e6, 2
                ),
            }
        finally:
            for daemon in daemons:
                daemon.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--to", type=Path, help="a file that keeps what was measured")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    if options.to is not None and options.to.exists():
        found = json.loads(options.to.read_text("utf-8"))
    for nodes in options.nodes:
        if any(row["nodes"] == nodes for row in found):
            continue
        found.append(measured(nodes, options.rounds))
        print(json.dumps(found[-1]), flush=True)
        if options.to is not None:
            options.to.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

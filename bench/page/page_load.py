"""What serving the page costs a node of a large fleet: CPU and memory beside the same node without it.

    python bench/page/page_load.py [--nodes 200] [--commits 2000] [--rate 20] [--seconds 60] [--json FILE]

A node's core (without radio and trainer) is given a job of 2,000 commits by 200 nodes and then `rate` pieces
of news a second: words of nodes (state, progress), measurements, an update now and then, a commit every three
seconds.  The same is done in three processes of their own: without a page; with the page, a reader connected
to its event stream; and, for the upper end of what the stream carries, a made-up fleet whose every piece of
news becomes an event (`synthetic.py`, its own making of news included).  CPU is user and system
time of the whole process.  Targets: serving adds at most 5 % of a core and 35 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SETTLE_S = 10.0
STEPS, EXAMPLES = 20, 640
FOLDED = 60  # of 200 nodes a round


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Fleet:
    """A core that knows a long job of many nodes, and news for it."""

    def __init__(self, nodes: int) -> None:
        from muster.job.context import Policy
        from muster.network.trust.signing import TrustStore, seal
        from muster.node.core import Core
        from muster.node.event_log import EventLog
        from muster.simulation.identities import PretendIdentity, PretendVerifier
        from muster.simulation.virtual.network import SimNetwork
        from muster.storage.memory import MemoryStore

        self.rng = random.Random(1)
        self.people = [PretendIdentity(f"node-{number:03d}") for number in range(nodes)]
        me = self.people[0]
        trust = TrustStore(PretendVerifier())
        for one in self.people:
            trust.verify_member(seal(one, one.member())[1])
        self.core = Core(
            name=me.name,
            signer=me,
            member=me.member(),
            trust=trust,
            store=MemoryStore(self.rng),
            link=SimNetwork(self.rng).link(me.node, me.name),
            policy=Policy(accept=False),
            open_trainer=self._no_trainer,
            installed=lambda task: True,
            battery=lambda: None,
            log=EventLog(time.time),
        )
        self.heads: list[Any] = []
        self.heartbeats: dict[bytes, int] = {}
        self.numbers: dict[bytes, int] = dict.fromkeys((p.node for p in self.people), 0)

    async def _no_trainer(self, task: str) -> Any:
        raise ChildProcessError("there is none here")

    def take(self, record: Any, author: bytes) -> bytes:
        """A record as if it had come from a neighbour and been checked."""
        from muster.network.sync.ledger import Entry
        from muster.protocol.envelope import encode, id_of

        body = encode(record)
        identifier = id_of(author, record)
        self.core.jobs._on_record(Entry(identifier, author, record, self.people[1].node, 0, len(body)))
        return identifier

    def begin(self) -> None:
        from muster.protocol.parts import Recipe, StopRule
        from muster.protocol.records import Commit, Job, Offer

        author = self.people[1].node
        plan = Job("digits", b"f" * 32, Recipe(0.1, 32, STEPS, 0), StopRule(rounds=9999), 1, 20.0, b"n")
        self.job = self.take(plan, author)
        for one in self.people[1:]:
            self.take(Offer(self.job, 1, 1, 200, 0.01), one.node)
        self.roster = tuple(p.node for p in self.people)
        blob = b"b" * 32
        root = Commit(self.job, (), 0, (), self.roster, (), 0.0, blob, 19304)
        self.line, self.round = self.take(root, author), 0

    def commit(self) -> None:
        """The next round: some of the nodes gave an update each."""
        from muster.job.figures import of_classes, sorted_figures
        from muster.protocol.parts import Folded, Payload, Spent
        from muster.protocol.records import Commit, Measurement, Plan

        self.round += 1
        who = sorted(self.rng.sample([p.node for p in self.people[1:]], min(FOLDED, len(self.people) - 1)))
        folded = []
        for node in who:
            self.numbers[node] += 1
            folded.append(Folded(node, 1, self.numbers[node], STEPS, EXAMPLES, 0, 1 / len(who)))
        author = self.people[1].node
        delta = Payload("quant8", 9120, None, b"d" * 32)
        record = Commit(
            self.job, (self.line,), self.round, tuple(folded), (),
            tuple(Spent(node, 0, 0, 9000) for node in who), self.round * 6.0,
            b"p" * 24 + self.round.to_bytes(8, "big"), 19304, delta,
        )  # fmt: skip
        self.line = self.take(record, author)
        correct = 100 + self.rng.randint(0, 200)
        figures = sorted_figures(of_classes(360, correct, 300.0))
        self.take(Measurement(self.job, self.line, 360, figures, True), author)
        self.take(Plan(self.job, self.line, self.round + 1, self._parts(), 1, 60.0, "as always"), author)

    def _parts(self) -> Any:
        from muster.protocol.parts import Assignment

        return tuple(Assignment(p.node, STEPS, "topk:0.05") for p in self.people[1:])

    def news(self, number: int) -> None:
        """One thing that happens."""
        from muster.network.sync.heartbeat import Heartbeat
        from muster.protocol.parts import Payload
        from muster.protocol.records import Update

        one = self.rng.choice(self.people[1:])
        if number % 60 == 0:
            self.commit()
        elif number % 6 == 0:
            payload = Payload("topk:0.05", 9000, None, os.urandom(32))
            sequence = self.numbers[one.node] + 1
            self.take(
                Update(self.job, self.line, self.round, 1, sequence, STEPS, EXAMPLES, 0.5, payload), one.node
            )
        else:
            count = self.heartbeats[one.node] = self.heartbeats.get(one.node, 0) + 1
            state, progress = self.rng.randint(2, 4), self.rng.randint(0, 100)
            self.core.presence.merge(
                [Heartbeat(one.node[:8], 1, count, state, progress, 80, self.job[:4], self.round + 1)]
            )


async def fleet_child(given: argparse.Namespace, *, page: bool) -> dict[str, float]:
    """The core under its news, with or without the page; prints the page's address, then the figures."""
    from muster.control.server import ControlServer

    fleet = Fleet(given.nodes)
    await fleet.core.start()
    fleet.begin()
    for _ in range(given.commits):
        fleet.commit()
        if fleet.round % 50 == 0:
            await asyncio.sleep(0)
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:

        async def watching(_: dict[str, Any]) -> Any:
            from muster.node.api.rows.state_stream import watch

            own = {"version": "bench", "home": folder, "pid": 0, "listen": [], "began_t": 0.0, "tasks": []}
            async for item in watch(fleet.core, lambda: own):
                yield item

        control = ControlServer(Path(folder) / "control.sock", {}, {"watch": watching})
        await control.start()
        try:
            if not page:
                print("-", flush=True)
                return await under_news(given, fleet.news)
            from muster.dashboard.page import open_page
            from muster.http.address import Address

            async with open_page(Path(folder), Address("127.0.0.1", 0)) as opened:
                print(opened.own, flush=True)
                return await under_news(given, fleet.news)
        finally:
            await control.close()
            await fleet.core.close()


async def under_news(given: argparse.Namespace, news: Any) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    start_s, number = loop.time(), 0
    cpu_before_s, from_s = 0.0, 0.0
    while loop.time() < start_s + SETTLE_S + given.seconds:
        number += 1
        await asyncio.sleep(start_s + number / given.rate - loop.time())
        if not from_s and loop.time() >= start_s + SETTLE_S:
            cpu_before_s, from_s = cpu_s(), loop.time()
        news(number)
    return {"cpu_share": (cpu_s() - cpu_before_s) / (loop.time() - from_s), "rss_bytes": rss_bytes()}


async def synthetic_child(given: argparse.Namespace) -> dict[str, float]:
    """A made-up fleet: every piece of news is an event of the stream."""
    from muster.dashboard.feed import Feed
    from muster.dashboard.http.app import AppDeps, build
    from muster.http.access import Access
    from muster.http.address import Address, listen, url
    from muster.http.server import serving
    from synthetic import Fleet as MadeUpFleet
    from synthetic import MadeUpClients, header

    feed = Feed(header("alpha"))
    fleet = MadeUpFleet(feed, nodes=given.nodes, commits=given.commits)
    clients = MadeUpClients(fleet)
    sock = listen(Address("127.0.0.1", 0))

    def news(number: int) -> None:
        fleet.happen(number)
        feed.flush()

    async with serving(build(AppDeps(feed, Access(), clients, clients)), sock, feed.close):
        print(url(sock, "127.0.0.1"), flush=True)
        return await under_news(given, news)


def read_stream(place: str, end_s: float) -> dict[str, int]:
    """Connect as a browser does and read until the server ends; events and bytes after the snapshot."""
    import http.client
    from urllib.parse import urlsplit

    split = urlsplit(place)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=30)
    connection.request("GET", "/api/events")
    stream = connection.getresponse()
    events = size = snapshot = 0
    while time.monotonic() < end_s:
        try:
            line = stream.readline()
        except OSError:
            break
        if not line:
            break
        if line.startswith(b"data: ") and not snapshot:
            snapshot = len(line)
        elif line.startswith(b"event: patch"):
            events += 1
        elif line.startswith(b"data: "):
            size += len(line)
    return {"patches": events, "patch_bytes": size, "snapshot_bytes": snapshot}


def measure(kind: str, given: argparse.Namespace) -> dict[str, Any]:
    argv = [sys.executable, __file__, "--child", kind]
    for name in ("nodes", "commits", "rate", "seconds"):
        argv += [f"--{name}", str(getattr(given, name))]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    place = process.stdout.readline().strip()
    read = {}
    if place.startswith("http"):
        read = read_stream(place, time.monotonic() + SETTLE_S + given.seconds + 60)
    figures = json.loads(process.stdout.readline())
    process.wait()
    return {"kind": kind, **figures, **read}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--commits", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=20.0, help="pieces of news a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=["bare", "page", "made-up"])
    given = parser.parse_args()
    if given.child:
        work = (
            synthetic_child(given)
            if given.child == "made-up"
            else fleet_child(given, page=given.child == "page")
        )
        print(json.dumps(asyncio.run(work)), flush=True)
        return
    found = {kind: measure(kind, given) for kind in ("bare", "page", "made-up")}
    for kind, row in found.items():
        print(f"{kind:>8}: {row['cpu_share']:6.1%} of a core, {row['rss_bytes'] / 1e6:6.1f} MB", end="")
        print(f", {row['patches']} patches, {row['patch_bytes'] / 1e3:.0f} kB" if "patches" in row else "")
    added = {key: found["page"][key] - found["bare"][key] for key in ("cpu_share", "rss_bytes")}
    print(f"   added: {added['cpu_share']:6.1%} of a core, {added['rss_bytes'] / 1e6:6.1f} MB")
    if given.json:
        given.json.write_text(json.dumps({**found, "added": added}, indent=1))


if __name__ == "__main__":
    main()

"""A made-up fleet at work behind a real page server: for looking at the page and for measuring its cost.

    python -m muster.dashboard.synthetic --nodes 200 --commits 2000 --rate 20 --port 8123

Everything in it is drawn from a seed; nothing is trained.  Links can be changed as in an emulation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import math
from random import Random
from typing import Any

import msgspec

from muster.dashboard.address import Address, listen, url
from muster.dashboard.app import Desk, build
from muster.dashboard.feed import Feed, Row
from muster.dashboard.guard import Access
from muster.dashboard.presets import PRESETS
from muster.dashboard.requests import Direction, LinkRequest
from muster.dashboard.rows import quality
from muster.dashboard.serve import serving
from muster.errors import MusterError
from muster.simulation import faults
from muster.simulation.faults import Fault

FIRST = (
    *("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"),
    *("india", "juliett", "kilo", "lima", "mike", "november", "oscar", "papa"),
)
ROUND_S = 6.0
STATES = ("receiving", "training", "sending", "idle")


def digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


class Fleet:
    """A state of the page and a way to let time pass in it."""

    def __init__(self, feed: Feed, *, nodes: int, commits: int, seed: int = 0) -> None:
        self.feed, self._rng = feed, Random(seed)
        self.names = [FIRST[i] if i < len(FIRST) else f"node-{i:03d}" for i in range(nodes)]
        self.job = digest("job", seed)
        self._lines: list[str] = []  # heads of the branches
        self._round, self._bytes = 0, 0
        self._islands: tuple[str, str] | None = None  # heads of two branches
        self.pairs = self._network()
        feed.publish({"nodes": {n: self._node(i, n) for i, n in enumerate(self.names)}})
        feed.publish({"links": {f"{a}|{b}": self._link(a, b) for a, b in self.pairs}})
        feed.publish({"jobs": {self.job: self._job_row()}})
        root = digest("commit", seed, 0)
        self._lines = [root]
        feed.publish({"commits": {root: self._commit(root, [])}})
        while len(feed.tables["commits"]) < commits:
            self._advance(quiet=True)
        feed.publish({"jobs": {self.job: self._job_row()}, "contributions": self._gifts()})
        self._plan()

    # ---- what there is ------------------------------------------------------------------------------

    def _network(self) -> list[tuple[str, str]]:
        """A ring with chords, in islands of ten: about 1.6 links a node."""
        rng, names = self._rng, self.names
        found = {tuple(sorted((i, (i + 1) % len(names)))) for i in range(len(names)) if len(names) > 1}
        while len(found) < int(1.575 * len(names)) and len(names) > 3:
            a = rng.randrange(len(names))
            b = (a + rng.randint(2, 9)) % len(names)
            if a != b:
                found.add((min(a, b), max(a, b)))
        return [(names[a], names[b]) for a, b in sorted(found)]

    def _node(self, number: int, name: str) -> Row:
        rng = self._rng
        samples, step_s = rng.randint(50, 400), round(rng.uniform(0.005, 0.08), 4)
        return {
            "id": name,
            "name": name,
            "key": digest("node", name),
            "me": number == 0,
            "state": rng.choice(STATES),
            "progress": round(rng.random(), 2),
            "heard_t": None if number == 0 else self.feed.t() - rng.random() * 3,
            "reachable": True,
            "battery": None if rng.random() < 0.3 else round(rng.uniform(0.1, 1), 2),
            "step_s": step_s,
            "samples": samples,
            "job": self.job,
            "round": 1,
            "offer": {"samples": samples, "step_s": step_s, "battery": None, "available_s": None},
            "refusal": None,
            "plan": None,
            "resources": None,
            "tasks": [],
            "emulated": {
                "address": f"10.77.{number // 250}.{number % 250 + 1}",
                "process": "running",
                "away": False,
                "slowdown": 1.0,
            },
        }

    def _link(self, a: str, b: str) -> Row:
        rng = self._rng
        rate = rng.choice((64.0, 256.0, 1000.0, 5000.0, 20000.0))
        ways = [
            {
                "up": True,
                "rate_kbit_s": rate,
                "delay_ms": float(rng.randint(5, 300)),
                "jitter_ms": 2.0,
                "loss": round(rng.random() * 0.05, 3),
                "burst": False,
                "bytes": 0,
                "bytes_s": 0.0,
                "lost_frames": 0,
            }
            for _ in range(2)
        ]
        return {
            "id": f"{a}|{b}",
            "a": a,
            "b": b,
            "emulated": True,
            "up": True,
            "quality": quality(*ways),
            "rtt_s": None,
            "goodput_bytes_s": None,
            "up_t": 0.0,
            "preset": None,
            "drop": None,
            "there": ways[0],
            "back": ways[1],
        }

    def _accuracy(self) -> float:
        return round(0.97 - 0.87 * math.exp(-self._round / 60) + self._rng.uniform(-0.01, 0.01), 4)

    def _commit(self, key: str, parents: list[str]) -> Row:
        rng, merge = self._rng, len(parents) > 1
        counted = 0 if merge or not parents else max(1, int(len(self.names) * rng.uniform(0.6, 1)))
        accuracy = self._accuracy()
        return {
            "id": key,
            "job": self.job,
            "parents": parents,
            "round": self._round,
            "merge": merge,
            "coordinator": None
            if merge
            else self.names[0 if key in self._lines[:1] else len(self.names) // 2],
            "counted": counted,
            "nodes": sorted(rng.sample(self.names, min(counted, 8))),
            "age_s": round(self._round * ROUND_S, 2),
            "accuracy": accuracy,
            "loss": round(max(0.02, -math.log(max(0.01, accuracy))), 4),
            "held": True,
            "bytes": 0 if merge else rng.randint(4000, 12000),
            "bytes_total": self._bytes,
            "discarded": 0,
            "predicted": None,
            "drop": None,
        }

    def _job_row(self) -> Row:
        commits = self.feed.tables["commits"]
        head = commits.get(self._lines[0]) if self._lines else None
        return {
            "id": self.job,
            "task": "digits",
            "asker": self.names[0],
            "state": "running",
            "why": f"round {self._round + 1}: waits for updates",
            "round": self._round,
            "head": head["id"] if head else "",
            "heads": list(self._lines),
            "coordinator": self.names[0],
            "accuracy": head["accuracy"] if head else None,
            "loss": head["loss"] if head else None,
            "measured_examples": 360,
            "began_t": round(self.feed.t() - self._round * ROUND_S, 1),
            "age_s": self._round * ROUND_S,
            "spent_bytes": self._bytes,
            "model_bytes": 19304,
            "stop": {"rounds": 10000, "target": None, "seconds": None, "bytes": None},
            "recipe": {"lr": 0.1, "batch": 32, "steps": 20, "codec": "auto"},
            "values": None,
            "error": None,
        }

    def _gifts(self) -> dict[str, Row | None]:
        rng, rounds = self._rng, max(1, self._round)
        rows: dict[str, Row | None] = {}
        for name in self.names:
            counted, late = int(rounds * rng.uniform(0.5, 1)), rng.randint(0, 9)
            rows[f"{self.job}/{name}"] = {
                "id": f"{self.job}/{name}",
                "job": self.job,
                "node": name,
                "samples": self.feed.tables["nodes"][name]["samples"],
                "steps": counted * 20,
                "examples": counted * 640,
                "counted": counted,
                "waiting": 0,
                "late": min(late, counted),
                "refused": late // 5,
                "reasons": {"not finite": late // 5} if late >= 5 else {},
                "share": round(1 / len(self.names), 4),
                "sent_bytes": counted * 9000,
                "received_bytes": rounds * 8000,
                "value": round(rng.uniform(-0.01, 0.05), 4),
                "value_share": round(rng.uniform(-0.1, 0.5), 4),
            }
        return rows

    # ---- what happens -------------------------------------------------------------------------------

    def _advance(self, *, quiet: bool = False) -> None:
        """One more commit; now and then a split into two branches, and their merge."""
        self._bytes += self._rng.randint(50_000, 90_000)
        number = len(self.feed.tables["commits"])
        key = digest("commit", self.job, number)
        if len(self._lines) == 2 and number % 9 == 0:
            row = self._commit(key, sorted(self._lines))
            self._lines = [key]
        elif len(self._lines) == 1 and number % 40 == 20:
            row = self._commit(key, [self._lines[0]])
            sibling = digest("commit", self.job, number, "far")
            far = self._commit(sibling, [self._lines[0]])
            self.feed.publish({"commits": {sibling: far}})
            self._lines = [key, sibling]
        else:
            line = number % len(self._lines)
            if line == 0:
                self._round += 1
            row = self._commit(key, [self._lines[line]])
            self._lines[line] = key
        changes: dict[str, dict[str, Row | None]] = {"commits": {key: row}}
        if row["merge"]:
            mark = self._mark("merge", "two histories meet")
            changes["marks"] = {mark["id"]: mark}
        self.feed.publish(changes)
        if not quiet:
            self.feed.publish({"jobs": {self.job: self._job_row()}, "contributions": self._gifts()})
            self.feed.say("commit", f"round {self._round}: {row['counted']} updates counted", job=self.job)
            self._plan()

    def _mark(self, kind: str, text: str, nodes: tuple[str, ...] = ()) -> Row:
        number = len(self.feed.tables["marks"]) + 1
        return {
            "id": f"m{number}",
            "kind": kind,
            "t": self.feed.t(),
            "job": self.job,
            "age_s": self._round * ROUND_S,
            "nodes": list(nodes),
            "text": text,
        }

    def _plan(self) -> None:
        now = self.feed.t()
        row = {
            "job": self.job,
            "round": self._round + 1,
            "parent": self._lines[0],
            "coordinator": self.names[0],
            "begun_t": now,
            "deadline_t": now + 2 * ROUND_S,
            "expected_t": now + ROUND_S,
            "arrived": 0,
            "why": f"{len(self.names)} nodes, {ROUND_S:g} s expected",
            "nodes": {
                n: {
                    "phase": "wait",
                    "progress": 0.0,
                    "steps": 20,
                    "codec": "topk:0.05",
                    "expected_t": now + ROUND_S,
                }
                for n in self.names[:24]
            },
        }
        self.feed.publish({"rounds": {self.job: row}})

    def happen(self, number: int) -> None:
        """Event `number` of the stream: a node or a link changes, or a commit is made."""
        rng = self._rng
        if number % 60 == 0:
            self._advance()
        elif number % 5 == 0:
            self._work()
        elif number % 2:
            name = rng.choice(self.names[1:] or self.names)
            row = {"state": rng.choice(STATES), "progress": round(rng.random(), 2), "heard_t": self.feed.t()}
            if self.feed.tables["nodes"][name]["emulated"]["process"] == "running":
                self.feed.publish({"nodes": {name: row}})
        else:
            self._carry()

    def _work(self) -> None:
        rows = dict(self.feed.tables["rounds"][self.job]["nodes"])
        for name in self._rng.sample(list(rows), min(4, len(rows))):
            old = rows[name]
            progress = round(old["progress"] + 0.34, 2)
            phases = ("wait", "receive", "train", "send", "in")
            phase = phases[min(4, phases.index(old["phase"]) + 1)] if progress > 1 else old["phase"]
            rows[name] = {**old, "phase": phase, "progress": 0.0 if phase != old["phase"] else progress}
        arrived = sum(row["phase"] == "in" for row in rows.values())
        self.feed.publish({"rounds": {self.job: {"nodes": rows, "arrived": arrived}}})

    def _carry(self) -> None:
        rng = self._rng
        changed: dict[str, Row | None] = {}
        for a, b in rng.sample(self.pairs, min(6, len(self.pairs))):
            row = self.feed.tables["links"][f"{a}|{b}"]
            if row["up"]:
                changed[row["id"]] = {
                    way: {**row[way], "bytes": row[way]["bytes"] + moved, "bytes_s": float(moved // 3)}
                    for way in ("there", "back")
                    if (moved := rng.choice((0, rng.randint(500, 60_000)))) or True
                }
        self.feed.publish({"links": changed})

    # ---- what the reader does -----------------------------------------------------------------------

    def set_ways(self, link: Row, there: Row, back: Row, **more: Any) -> None:
        ways = {"there": {**link["there"], **there}, "back": {**link["back"], **back}}
        up = ways["there"]["up"] and ways["back"]["up"]
        row = {**ways, "up": up, "quality": quality(ways["there"], ways["back"]), **more}
        self.feed.publish({"links": {link["id"]: row}})


class Door:
    """The emulator of a made-up fleet; its node refuses everything else."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._feed = fleet, fleet.feed

    async def ask(self, op: str, timeout_s: float, **arguments: Any) -> Any:
        raise MusterError("no_node", "this fleet is made up: there is no node behind it")

    async def set_link(self, request: LinkRequest) -> None:
        links = self._feed.tables["links"]
        link = links.get(f"{request.a}|{request.b}")
        there, back = request.there, request.back
        if link is None:
            link, there, back = links.get(f"{request.b}|{request.a}"), back, there
        if link is None:
            raise MusterError("scenario", f"there is no link {request.a} - {request.b}")
        preset = next((p for p in PRESETS if p.id == request.preset), None)
        if preset is not None:
            there, back = preset.there, preset.back
        self._fleet.set_ways(link, _given(there), _given(back), preset=request.preset)

    async def apply(self, fault: Fault) -> None:
        fleet, feed = self._fleet, self._feed
        known = feed.tables["nodes"]
        for name in faults.names_in(fault):
            if name not in known:
                raise MusterError("scenario", f"there is no node {name!r}")
        pairs = [pair for a, b in fleet.pairs for pair in ((a, b), (b, a))]
        changes = faults.link_changes(fault, pairs)
        for a, b in fleet.pairs:
            if (a, b) in changes or (b, a) in changes:
                there, back = changes.get((a, b), {}), changes.get((b, a), {})
                fleet.set_ways(feed.tables["links"][f"{a}|{b}"], there, back)
        state = {"kill": ("gone", "ended"), "pause": ("paused", "paused"), "leave": ("away", "running")}
        kind = str(faults.to_dict(fault)["fault"])
        for name in faults.names_in(fault) if not changes else ():
            word, process = state.get(kind, ("idle", "running"))
            emulated = {**known[name]["emulated"], "process": process, "away": kind == "leave"}
            feed.publish({"nodes": {name: {"state": word, "emulated": emulated}}})
        names = tuple(sorted(faults.names_in(fault)))
        mark = fleet._mark(kind, f"{kind} {' '.join(names)}", names)
        feed.publish({"marks": {mark["id"]: mark}})
        feed.say("fault", mark["text"])


def _given(way: Direction) -> Row:
    return {key: value for key, value in msgspec.to_builtins(way).items() if value is not None}


def header(first: str) -> Row:
    return {
        "api": 1,
        "version": "0.1.0",
        "view": first,
        "title": "a made-up fleet",
        "emulated": True,
        "source": {"state": "live", "since_t": 0.0, "words": ""},
        "job": None,
        "tasks": ["digits"],
        "presets": [msgspec.to_builtins(preset) for preset in PRESETS],
    }


async def run(nodes: int, commits: int, rate: float, port: int | None, host: str = "127.0.0.1") -> None:
    """Serve until cancelled, `rate` events a second."""
    feed = Feed(header(FIRST[0]))
    fleet = Fleet(feed, nodes=nodes, commits=commits)
    feed.describe({"job": fleet.job})
    door = Door(fleet)
    sock = listen(Address(host, port))
    access = Access.for_host(host, sock.getsockname()[1])
    async with serving(build(Desk(feed, access, door, door)), sock, feed.close):
        place = url(sock, host)
        for token, role in access.tokens.items():
            print(f"{role}: {place}#token={token}", flush=True)
        print(place, flush=True)
        loop, number = asyncio.get_running_loop(), 0
        start_s = loop.time()
        while True:
            number += 1
            await asyncio.sleep(start_s + number / rate - loop.time())
            feed.fresh_t = feed.t()
            fleet.happen(number)
            feed.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--commits", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=20.0, help="events a second")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(given.nodes, given.commits, given.rate, given.port, given.host))


if __name__ == "__main__":
    main()

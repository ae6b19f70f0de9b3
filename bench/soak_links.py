"""Soak the network engine: many small networks at once on bad links, for as long as you like.

    python bench/soak_links.py --minutes 60 --seeds 4 --report soak.json

Every run is two or three nodes (real processes, real QUIC) on an emulated network of their own:

* ``burst``: Gilbert-Elliott loss that moves with each frame, several severities and seeds; what counts is the
  longest time without an answer, since bad spells that belong to frames have no times;
* ``fade``: the same chain in time: spells of 2 to 20 s in which 90 % is lost;
* ``updown``: the link is up 10 s, down 20 s;
* ``restart``: one node is killed and started again every 60 s;
* ``idle``: nothing is asked; bytes a minute on the wire.

Every second each node asks each other one for an answer (every fifth of 8 KiB, as bulk), 5 s at most.
*Beyond* is the longest time between two answers, less the bad spells in it.  A *zombie* is a neighbour that
looks up for 30 s of good link without an answer; *reopened* is how often the watchdog acted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from muster.emulation.emulator import Emulation
from muster.emulation.radio import Burst, LinkParams
from muster.emulation.scenario import LinkSpec, NodeSpec, Scenario
from muster.network.identity import load_bundle, machine_bundle
from muster.network.link import Refused, Unreachable, Urgency
from muster.network.zenoh_config import PROFILES
from muster.network.zenoh_link import ZenohLink
from muster.records import NodeId

ASK_S = 1.0
ANSWER_S = 5.0
BULK_BYTES = 8192
ZOMBIE_S = 30.0
GOOD = LinkParams(rate_kbit_s=1000, delay_ms=30)
BURSTS = {  # mean bad spell in frames, loss in it; 5 % and 20 % of frames in the bad state
    "burst-5": Burst(p_good_to_bad=0.005, p_bad_to_good=0.1, loss_bad=0.9),
    "burst-20": Burst(p_good_to_bad=0.0125, p_bad_to_good=0.05, loss_bad=1.0),
}


# ---- the node side: one link, asking all the time --------------------------------------------------------


async def work(bundle: Path, listen: str, connect: Sequence[str], profile: str, quiet: bool) -> None:
    """One node until SIGTERM; a line of JSON on stdout for each attempt (loop time = monotonic clock)."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    link = ZenohLink(
        load_bundle(bundle),
        [listen],
        list(connect),
        discovery=False,
        profile=PROFILES[profile],
        on_problem=lambda sentence: say(problem=sentence, t=loop.time()),
    )

    def say(**entry: object) -> None:
        print(json.dumps(entry), flush=True)

    async def answer(node: NodeId, payload: bytes) -> bytes:
        return bytes(BULK_BYTES) if payload == b"bulk" else payload

    async def pester(node: NodeId, name: str) -> None:
        number = 0
        while True:
            began = loop.time()
            up, ok = node in link.neighbours(), False
            number += 1
            bulk = number % 5 == 0
            if up:
                with contextlib.suppress(Unreachable, Refused):
                    await link.ask(
                        node,
                        "x",
                        b"bulk" if bulk else bytes(100),
                        timeout_s=ANSWER_S,
                        urgency=Urgency.BULK if bulk else Urgency.CONTROL,
                    )
                    ok = True
            say(began=began, t=loop.time(), peer=name, up=up, ok=ok, bulk=bulk, reopened=link.reopened)
            await asyncio.sleep(max(0.0, ASK_S - (loop.time() - began)))

    known: dict[NodeId, asyncio.Task[None]] = {}

    def watch(node: NodeId, up: bool) -> None:
        if up and node not in known and not quiet:
            known[node] = loop.create_task(pester(node, link.neighbours()[node].name))

    link.serve("x", answer)
    link.watch(watch)
    await link.start()
    await stop.wait()
    say(t=loop.time(), resident_kb=_resident_kb())
    for task in known.values():
        task.cancel()
    await link.close()


def _resident_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


# ---- the runs --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One small network. `nodes` names; every pair is linked; the earlier node of a pair listens."""

    kind: str
    seed: int
    nodes: tuple[str, ...]
    link: LinkParams
    profile: str = "lan"

    def pairs(self) -> list[tuple[str, str]]:
        return [(a, b) for i, a in enumerate(self.nodes) for b in self.nodes[i + 1 :]]


@dataclass
class Spells:
    """When the link was bad: loop times (the monotonic clock, which all processes share)."""

    bad: list[tuple[float, float]] = field(default_factory=list)

    def overlap_s(self, since: float, until: float) -> float:
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.bad)


@dataclass(frozen=True)
class Outcome:
    kind: str
    seed: int
    nodes: int
    asked: int
    answered: int
    answer_ms: float  # median
    longest_s: float  # between two answers
    beyond_s: float  # the same, less the bad spells in it
    zombies: int
    reopened: int
    problems: list[str]
    resident_kb: int
    bytes_min: float  # each way on a link, mean


def plan(kinds: Sequence[str], seeds: int, profile: str) -> list[Run]:
    """Pairs for every kind and seed, and one triple for each kind."""
    runs = []
    for kind in kinds:
        link = msgspec.structs.replace(GOOD, burst=BURSTS[kind]) if kind in BURSTS else GOOD
        for seed in range(1 if kind == "idle" else seeds):
            size = 3 if seed == 1 else 2
            names = tuple(f"{kind}-{seed}-{letter}" for letter in "abc"[:size])
            runs.append(Run(kind, seed, names, link, profile))
    return runs


async def trouble(net: Emulation, run: Run, spells: Spells) -> None:
    """Make the run's links bad and good again, for ever; note the bad spells."""
    loop = asyncio.get_running_loop()
    rng = random.Random(run.seed)

    @contextlib.asynccontextmanager
    async def bad(params: LinkParams) -> AsyncIterator[None]:
        for a, b in run.pairs():
            await net.set_link(a, b, params)
        begin = loop.time()
        spells.bad.append((begin, float("inf")))
        yield
        for a, b in run.pairs():
            await net.set_link(a, b, run.link)
        spells.bad[-1] = (begin, loop.time())

    await asyncio.sleep(10)
    while True:
        if run.kind == "updown":
            async with bad(msgspec.structs.replace(run.link, up=False)):
                await asyncio.sleep(20)
            await asyncio.sleep(10)
        elif run.kind == "fade":
            async with bad(msgspec.structs.replace(run.link, loss=0.9)):
                await asyncio.sleep(min(60.0, max(1.0, rng.expovariate(1 / rng.choice((2, 8, 20))))))
            await asyncio.sleep(min(60.0, max(1.0, rng.expovariate(1 / 20))))
        elif run.kind == "restart":
            begin = loop.time()
            await net.kill(run.nodes[-1])
            await asyncio.sleep(3)
            await net.restart(run.nodes[-1])
            spells.bad.append((begin, loop.time()))
            await asyncio.sleep(57)
        else:
            await asyncio.sleep(60)


def judge(run: Run, logs: dict[str, list[dict[str, object]]], spells: Spells, bytes_min: float) -> Outcome:
    """What the nodes' logs say about one run."""
    asked = answered = zombies = reopened = resident = 0
    longest = beyond = 0.0
    times: list[float] = []
    problems: list[str] = []
    for entries in logs.values():
        tries: dict[str, list[dict[str, object]]] = {}
        for entry in entries:
            if "peer" in entry:
                tries.setdefault(str(entry["peer"]), []).append(entry)
                reopened = max(reopened, int(str(entry["reopened"])))
            problems += [str(entry["problem"])] if "problem" in entry else []
            resident = max(resident, int(str(entry.get("resident_kb", 0))))
        for attempts in tries.values():
            last, up_since, dead = _t(attempts[0]), _t(attempts[0]), False
            for attempt in attempts:
                now = _t(attempt)
                if attempt["up"]:
                    asked += 1
                else:
                    up_since = now
                if attempt["ok"]:
                    answered += 1
                    if not attempt["bulk"]:
                        times.append(now - float(str(attempt["began"])))
                    up_since, dead = now, False
                good_s = now - up_since - spells.overlap_s(up_since, now)
                if good_s > ZOMBIE_S and not dead:
                    zombies, dead = zombies + 1, True
                longest = max(longest, now - last)
                beyond = max(beyond, now - last - spells.overlap_s(last, now))
                last = now if attempt["ok"] else last
    return Outcome(
        run.kind,
        run.seed,
        len(run.nodes),
        asked,
        answered,
        round(1000 * statistics.median(times), 1) if times else 0.0,
        round(longest, 1),
        round(beyond, 1),
        zombies,
        reopened,
        sorted(set(problems)),
        resident,
        round(bytes_min),
    )


def _t(entry: dict[str, object]) -> float:
    return float(str(entry["t"]))


async def soak(runs: Sequence[Run], minutes: float, rundir: Path) -> list[Outcome]:
    """All runs at once in one emulation."""
    names = [name for run in runs for name in run.nodes]
    links = [LinkSpec(a, b, run.link, run.link) for run in runs for a, b in run.pairs()]
    scenario = Scenario("soak", "", tuple(NodeSpec(name) for name in names), tuple(links), seed=1)
    spells = {run: Spells() for run in runs}
    loop = asyncio.get_running_loop()
    async with Emulation(scenario, rundir) as net:
        for run in runs:
            fleet = rundir / f"fleet-{run.kind}-{run.seed}"
            for index, name in enumerate(run.nodes):
                earlier = [f"{net.address(other)}:7447" for other in run.nodes[:index]]
                argv = [sys.executable, __file__, "--worker", str(machine_bundle(fleet, name))]
                argv += ["--listen", f"{net.address(name)}:7447", "--profile", run.profile]
                argv += [word for point in earlier for word in ("--connect", point)]
                argv += ["--quiet"] if run.kind == "idle" else []
                await net.spawn(name, argv, stdout=rundir / f"{name}.log", env=dict(os.environ))
        await asyncio.sleep(5)
        tasks = [loop.create_task(trouble(net, run, spells[run])) for run in runs]
        before, began = await net.counters(), loop.time()
        await asyncio.sleep(60 * minutes)
        after, passed_s = await net.counters(), loop.time() - began
        for task in tasks:
            task.cancel()
        failed = [error for error in await asyncio.gather(*tasks, return_exceptions=True) if error]
        for error in failed:
            if not isinstance(error, asyncio.CancelledError):
                raise error
    outcomes = []
    for run in runs:
        logs = {name: _entries(rundir / f"{name}.log") for name in run.nodes}
        ways = [pair for a, b in run.pairs() for pair in ((a, b), (b, a))]
        moved = [after[way].bytes - before[way].bytes for way in ways]
        outcomes.append(judge(run, logs, spells[run], statistics.mean(moved) * 60 / passed_s))
    return outcomes


def _entries(path: Path) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):  # a killed process may leave half a line
            entries.append(json.loads(line))
    return entries


def main() -> None:
    kinds = [*BURSTS, "fade", "updown", "restart", "idle"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="lan")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--keep", type=Path, help="an empty directory for the logs")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--listen", default="", help=argparse.SUPPRESS)
    parser.add_argument("--connect", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--quiet", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        asyncio.run(work(given.worker, given.listen, given.connect, given.profile, given.quiet))
        return
    with tempfile.TemporaryDirectory() as temporary:
        rundir = given.keep or Path(temporary)
        outcomes = asyncio.run(soak(plan(given.kinds, given.seeds, given.profile), given.minutes, rundir))
    print(f"{'run':<12} nodes   asked answered  ms    longest s  beyond s  zombies reopened  bytes/min")
    for one in outcomes:
        print(
            f"{one.kind + '-' + str(one.seed):<12} {one.nodes:>5} {one.asked:>7} {one.answered:>8} "
            f"{one.answer_ms:>5.0f} {one.longest_s:>10.1f} {one.beyond_s:>9.1f} {one.zombies:>8} "
            f"{one.reopened:>8} {one.bytes_min:>10.0f}"
        )
        for problem in one.problems:
            print(f"             {problem}")
    if given.report:
        given.report.write_text(json.dumps([asdict(one) for one in outcomes], indent=1) + "\n")
    failed = [one for one in outcomes if one.zombies or one.beyond_s > ZOMBIE_S]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

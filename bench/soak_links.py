"""Soak the network engine: many small networks at once on bad links, for as long as you like.

    python bench/soak_links.py --minutes 60 --seeds 2 --table soak.txt --report soak.json

Every run is two nodes (real processes, real QUIC) on an emulated link of their own, 1 Mbit/s and 30 ms, odd
seeds 256 kbit/s and 100 ms:

* ``burst-5-half`` ... ``burst-20-all``: a Gilbert-Elliott chain each way, bad 5 or 20 % of the time in spells
  of 1 s on average, in which half or all of the frames are lost;
* ``burst-long``: the same, bad 20 % of the time in spells of 8 s on average, all lost;
* ``fade``: both ways at once, spells of 1 to 60 s in which 90 % is lost;
* ``updown``: the link is up 10 s, down 20 s;
* ``restart``: one node is killed and started again every 60 s;
* ``idle``: nothing is asked; bytes a minute on the wire.

Every 5 s (`--every`) each node asks the other for an answer (every fifth of 8 KiB, as bulk), 5 s at most.
*Beyond* is the longest time between two answers, less the bad spells in it (the chain bad either way, or the
link down), *stretch* the longest time in one piece, between bad spells, that passed without an answer;
neither can be below the time between two questions.  A *zombie* is a neighbour that looks up for 30 s of
good link without an answer; *reopened* is how often the watchdog acted on one, *renewed* how often a deserted
node got a new listener; *lost* how often a neighbour went out of reach.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
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
from muster.emulation.radio.bursts import SLOT_S, Burst
from muster.emulation.radio.model import LinkParams
from muster.emulation.scenario import LinkSpec, NodeSpec, Scenario
from muster.network.transport.link import Refused, Unreachable, Urgency
from muster.network.transport.zenoh_config import PROFILES
from muster.network.transport.zenoh_link import ZenohLink
from muster.network.trust.identity import load_bundle, machine_bundle
from muster.protocol.records import NodeId

ASK_S = 5.0
ANSWER_S = 5.0
BULK_BYTES = 8192
ZOMBIE_S = 30.0
SPELLS_S = 10.0  # between two looks at the chains
START_S = 0.5  # between the starts of two programs, so that they do not take the machine all at once
LINKS = (LinkParams(rate_kbit_s=1000, delay_ms=30), LinkParams(rate_kbit_s=256, delay_ms=100))


def burst(share: float, spell_s: float, loss: float) -> Burst:
    """A chain that is bad for `share` of the time, in spells of this mean length while nothing is sent."""
    leave = SLOT_S / spell_s
    return Burst(p_good_to_bad=leave * share / (1 - share), p_bad_to_good=leave, loss_bad=loss)


BURSTS = {
    "burst-5-half": burst(0.05, 1, 0.5),
    "burst-5-all": burst(0.05, 1, 1.0),
    "burst-20-half": burst(0.2, 1, 0.5),
    "burst-20-all": burst(0.2, 1, 1.0),
    "burst-long": burst(0.2, 8, 1.0),
}


# ---- the node side: one link, asking all the time --------------------------------------------------------


async def work(
    bundle: Path, listen: str, connect: Sequence[str], profile: str, every_s: float, quiet: bool
) -> None:
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
            acts = {"reopened": link.reopened, "renewed": link.renewed}
            say(began=began, t=loop.time(), peer=name, up=up, ok=ok, bulk=bulk, **acts)
            await asyncio.sleep(max(0.0, every_s - (loop.time() - began)))

    known: dict[NodeId, asyncio.Task[None]] = {}

    def watch(node: NodeId, up: bool) -> None:
        neighbour = link.neighbours().get(node)
        say(change=neighbour.name if neighbour else "", up=up, t=loop.time())
        if up and node not in known and not quiet:
            known[node] = loop.create_task(pester(node, neighbour.name if neighbour else node.hex()[:8]))

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

    def joined(self) -> Spells:
        """In order, those that overlap made one."""
        joined: list[tuple[float, float]] = []
        for begin, end in sorted(self.bad):
            if joined and begin <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((begin, end))
        return Spells(joined)

    def overlap_s(self, since: float, until: float) -> float:
        """Seconds of [since, until] in bad spells; these must be `joined`."""
        first = max(0, bisect.bisect(self.bad, (since, since)) - 1)
        last = bisect.bisect(self.bad, (until, until))
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.bad[first:last])

    def longest_good_s(self, since: float, until: float) -> float:
        """The longest time in [since, until] without a bad spell; these must be `joined`."""
        longest = 0.0
        for begin, end in self.bad[max(0, bisect.bisect(self.bad, (since, since)) - 1) :]:
            if since >= until or begin >= until:
                break
            longest, since = max(longest, begin - since), max(since, end)
        return max(longest, until - since)


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
    stretch_s: float  # the longest good time in one piece without an answer
    zombies: int
    reopened: int
    renewed: int
    lost: int
    bad_s: float  # of the run
    problems: list[str]
    resident_kb: int
    bytes_min: float  # each way on a link, mean


def plan(kinds: Sequence[str], seeds: int, profile: str) -> list[Run]:
    """A pair for every kind and seed."""
    runs = []
    for kind in kinds:
        for seed in range(1 if kind == "idle" else seeds):
            link = msgspec.structs.replace(LINKS[seed % len(LINKS)], burst=BURSTS.get(kind))
            runs.append(Run(kind, seed, (f"{kind}-{seed}-a", f"{kind}-{seed}-b"), link, profile))
    return runs


async def follow_bursts(net: Emulation, spells: dict[Run, Spells]) -> None:
    """Note the bad spells of all chains, for ever; one that goes on is noted up to now."""
    loop, since_s = asyncio.get_running_loop(), 0.0
    while True:
        now_s = loop.time()
        seen = await net.bad_spells(since_s)
        for run in spells:
            for a, b in run.pairs():
                for way in ((a, b), (b, a)):
                    if way in seen:
                        ended = [(begin, now_s if end is None else end) for begin, end in seen[way].spells]
                        spells[run].bad += ended
        since_s = now_s - 1.0
        await asyncio.sleep(SPELLS_S)


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


def judge(
    run: Run,
    logs: dict[str, list[dict[str, object]]],
    spells: Spells,
    began: float,
    ended: float,
    bytes_min: float,
) -> Outcome:
    """What the nodes' logs say about one run, from loop time `began` to `ended`."""
    asked = answered = zombies = reopened = renewed = resident = lost = 0
    longest = beyond = stretch = 0.0
    times: list[float] = []
    problems: list[str] = []
    for name, entries in logs.items():
        tries: dict[str, list[dict[str, object]]] = {}
        most, most_renewed = 0, 0
        for entry in entries:
            if "peer" in entry:
                tries.setdefault(str(entry["peer"]), []).append(entry)
                most = max(most, int(str(entry["reopened"])))
                most_renewed = max(most_renewed, int(str(entry["renewed"])))
            lost += int("change" in entry and not entry["up"])
            problems += [str(entry["problem"])] if "problem" in entry else []
            resident = max(resident, int(str(entry.get("resident_kb", 0))))
        reopened, renewed = reopened + most, renewed + most_renewed
        if run.kind != "idle" and len(tries) < len(run.nodes) - 1:
            problems.append(f"{name} never met all of its neighbours")
            beyond = max(beyond, ended - began - spells.overlap_s(began, ended))
            stretch = max(stretch, spells.longest_good_s(began, ended))
        for attempts in tries.values():
            attempts = [one for one in attempts if _t(one) <= ended]
            last, up_since, dead = began, began, False
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
                stretch = max(stretch, spells.longest_good_s(last, now))
                last = now if attempt["ok"] else last
            beyond = max(beyond, ended - last - spells.overlap_s(last, ended))
            stretch = max(stretch, spells.longest_good_s(last, ended))
    return Outcome(
        run.kind,
        run.seed,
        len(run.nodes),
        asked,
        answered,
        round(1000 * statistics.median(times), 1) if times else 0.0,
        round(longest, 1),
        round(beyond, 1),
        round(stretch, 1),
        zombies,
        reopened,
        renewed,
        lost,
        round(spells.overlap_s(began, ended), 1),
        sorted(set(problems)),
        resident,
        round(bytes_min),
    )


def _t(entry: dict[str, object]) -> float:
    return float(str(entry["t"]))


async def soak(
    runs: Sequence[Run], minutes: float, every_s: float, rundir: Path
) -> tuple[list[Outcome], float]:
    """All runs at once in one emulation; what came of each, and the cores that it all took."""
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
                argv += ["--every", str(every_s)]
                argv += [word for point in earlier for word in ("--connect", point)]
                argv += ["--quiet"] if run.kind == "idle" else []
                await net.spawn(name, argv, stdout=rundir / f"{name}.log", env=dict(os.environ))
                await asyncio.sleep(START_S)
        await asyncio.sleep(5)
        tasks = [loop.create_task(trouble(net, run, spells[run])) for run in runs]
        tasks.append(loop.create_task(follow_bursts(net, spells)))
        before, began, cpu_s = await net.counters(), loop.time(), _cpu_s(os.getpid())
        await asyncio.sleep(60 * minutes)
        after, ended = await net.counters(), loop.time()
        cores = (_cpu_s(os.getpid()) - cpu_s) / (ended - began)
        await asyncio.sleep(SPELLS_S + 1)  # the last spells
        for task in tasks:
            task.cancel()
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            if error and not isinstance(error, asyncio.CancelledError):
                raise error
    outcomes = []
    noted = {f"{run.kind} {run.seed}": spells[run].joined().bad for run in runs}
    (rundir / "spells.json").write_text(json.dumps({"began": began, "ended": ended, "bad": noted}))
    for run in runs:
        logs = {name: _entries(rundir / f"{name}.log") for name in run.nodes}
        ways = [pair for a, b in run.pairs() for pair in ((a, b), (b, a))]
        moved = [after[way].bytes - before[way].bytes for way in ways]
        bytes_min = statistics.mean(moved) * 60 / (ended - began)
        outcomes.append(judge(run, logs, spells[run].joined(), began, ended, bytes_min))
    return outcomes, cores


def _cpu_s(pid: int) -> float:
    """Processor time of a process and its descendants, also those that have ended and were waited for."""
    ticks, parents = 0, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    for one in parents:
        line = one
        while line in parents and line != pid:
            line = parents[line][0]
        ticks += parents[one][1] if line == pid else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def _entries(path: Path) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):  # a killed process may leave half a line
            entries.append(json.loads(line))
    return entries


HEADINGS = (
    "run", "asked", "answered", "median ms", "bad s", "longest s", "beyond s", "stretch s", "zombies",
    "reopened", "renewed", "lost", "bytes/min",
)  # fmt: skip


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown."""
    rows = [
        (
            f"{one.kind} {one.seed}", one.asked, one.answered, round(one.answer_ms), round(one.bad_s),
            one.longest_s, one.beyond_s, one.stretch_s, one.zombies, one.reopened, one.renewed, one.lost,
            one.bytes_min,
        )
        for one in outcomes
    ]  # fmt: skip
    lines = [HEADINGS, ["---", *["---:"] * (len(HEADINGS) - 1)], *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def main() -> None:
    kinds = [*BURSTS, "fade", "updown", "restart", "idle"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--every", type=float, default=ASK_S, help="seconds between two questions")
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="lan")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--keep", type=Path, help="an empty directory for the logs")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--listen", default="", help=argparse.SUPPRESS)
    parser.add_argument("--connect", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--quiet", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        asyncio.run(work(given.worker, given.listen, given.connect, given.profile, given.every, given.quiet))
        return
    with tempfile.TemporaryDirectory() as temporary:
        rundir = given.keep or Path(temporary)
        runs = plan(given.kinds, given.seeds, given.profile)
        outcomes, cores = asyncio.run(soak(runs, given.minutes, given.every, rundir))
    text = table(outcomes) + f"\n{given.minutes:g} minutes; all of it took {100 * cores:.1f} % of one core.\n"
    text += "".join(f"\n{one.kind} {one.seed}: {problem}" for one in outcomes for problem in one.problems)
    print(text)
    if given.table:
        given.table.write_text(text)
    if given.report:
        given.report.write_text(json.dumps([asdict(one) for one in outcomes], indent=1) + "\n")
    failed = [one for one in outcomes if one.zombies or one.beyond_s > ZOMBIE_S]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

"""Soak the network engine: many small networks at once on bad links, for as long as you like.

    python bench/links/soak_links.py --minutes 60 --seeds 2 --table soak.txt --report soak.json

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
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from muster.emulation.emulator import Emulation
from muster.emulation.radio.bursts import SLOT_S, Burst
from muster.emulation.radio.model import LinkParams
from muster.emulation.scenario import LinkSpec, NodeSpec, Scenario
from muster.network.transport.zenoh.config import PROFILES
from muster.network.trust.identity import machine_bundle
from soak_judging import ZOMBIE_S, Outcome, Run, Spells, judge, table
from soak_worker import work

ASK_S = 5.0
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

"""What a healthy job pays for being able to lose its links, its nodes and its coordinator.

    python bench/fleet/resilience_cost.py [--rounds 25] [--times 2] [--tasks digits wide] [--json FILE]

Three daemons on an emulated LAN (100 Mbit/s, 0.5 ms), nothing goes wrong. "with" is Muster as it is;
"without" is bench/fleet/forgetful.py: no fsync, old models dropped, records told by their authors alone,
updates to the coordinator alone. The two take turns; both send 8-bit updates and changes. A round's time is
the median between commits (the first rounds, with start-up in them, left out); bytes are those on all links
from asking to the end, headers included; disk is what the asker's store holds at the end. `digits` has
2,730 parameters, `wide` 527,810 (2.1 MB).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from muster.emulation.scenario_file import load
from muster.protocol.envelope import decode, unpack
from muster.protocol.records import Commit, Update
from muster.simulation.faults import Kill
from muster.storage.disk import DiskStore
from small_fleet import machine, small_fleet, write

HERE = Path(__file__).parent
TASKS = {"digits": "digits", "wide": str(HERE.parents[1] / "tests" / "e2e" / "wide.py")}
PROGRAMS = {"with": ("-m", "muster.cli.main"), "without": (str(HERE / "forgetful.py"),)}
CODECS = {"codec": "quant8", "down_codec": "quant8"}  # not "auto", which goes by measured times
LIMIT_S = 120.0


@dataclass(frozen=True)
class Job:
    task: str
    history: str  # with | without
    round_s: float
    total_s: float  # from the job's beginning to its last commit
    bytes: int
    payload_bytes: int  # of updates, once each
    records_bytes: int  # all records of the job, once each
    disk_bytes: int
    kinds: dict[str, int]  # records' bytes by kind


async def run(task: str, history: str, rounds: int) -> Job:
    async with small_fleet(load("lan-3"), TASKS[task]) as fleet:
        fleet.program = PROGRAMS[history]
        for number in range(3):
            await fleet.spawn(number)
        for name in ("alpha", "bravo", "charlie"):
            await fleet.until_linked(name, 2)
        before = sum(c.bytes for c in (await fleet.net.counters()).values())
        client = fleet.client("alpha")
        client.timeout_s = 60.0
        job = await asyncio.to_thread(lambda: client.train(task, rounds=rounds, min_nodes=3, **CODECS))
        async with asyncio.timeout(LIMIT_S):
            while not all([await over(fleet.client(name), job) for name in ("alpha", "bravo", "charlie")]):
                await asyncio.sleep(0.1)
        bytes_ = sum(c.bytes for c in (await fleet.net.counters()).values()) - before
        commits = [c for c in (await asyncio.to_thread(client.log, job)).commits if c.counted]
        gaps = [b.age_s - a.age_s for a, b in itertools.pairwise(commits[1:])]
        await fleet.net.apply(Kill("alpha"))
        kinds, payloads, disk = kept(fleet.rundir / "alpha", bytes.fromhex(job))
        return Job(
            task, history, statistics.median(gaps), commits[-1].age_s, bytes_, payloads,
            sum(kinds.values()), disk, dict(kinds),
        )  # fmt: skip


async def over(client: object, job: str) -> bool:
    seen = (await asyncio.to_thread(client.snapshot)).jobs  # type: ignore[attr-defined]
    return any(view.id == job and view.state == "finished" for view in seen)


def kept(home: Path, job: bytes) -> tuple[Counter[str], int, int]:
    """(bytes of records by kind, bytes of the updates' payloads, bytes on the disk)."""
    store = DiskStore(home)
    kinds: Counter[str] = Counter()
    payloads = 0
    for stored in store.since(0, 1_000_000):
        if stored.job == job:
            record = decode(unpack(stored.wire).body)
            payload = record.payload if isinstance(record, Update) else None
            if payload is not None:
                payloads += payload.size_bytes
            elif isinstance(record, Commit):
                payload = record.delta
            kinds[stored.kind] += len(stored.wire) - len((payload and payload.inline) or b"")
    disk = store.used_bytes()
    store.close()
    return kinds, payloads, disk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    jobs: list[Job] = []
    for task, _, history in itertools.product(arguments.tasks, range(arguments.times), PROGRAMS):
        print(f"{task}, {history} history ...", file=sys.stderr, flush=True)
        jobs.append(asyncio.run(run(task, history, arguments.rounds)))
        print(jobs[-1], file=sys.stderr, flush=True)
    print(f"A healthy job of {arguments.rounds} rounds, median of {arguments.times}, on {machine()}\n")
    print("| task | history | round | whole job | on all links | of it update payloads | disk of the asker |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for task in arguments.tasks:
        for history in PROGRAMS:
            some = [j for j in jobs if (j.task, j.history) == (task, history)]
            m = {key: statistics.median(getattr(j, key) for j in some) for key in FIGURES}
            print(
                f"| {task} | {history} | {m['round_s'] * 1000:.0f} ms | {m['total_s']:.1f} s "
                f"| {m['bytes'] / 1000:.0f} kB | {m['payload_bytes'] / 1000:.0f} kB "
                f"| {m['disk_bytes'] / 1000:.0f} kB |"
            )
    for task in arguments.tasks:
        whole = next(j for j in jobs if (j.task, j.history) == (task, "with"))
        told = ", ".join(f"{kind} {size / 1000:.1f} kB" for kind, size in sorted(whole.kinds.items()))
        print(f"\nRecords of `{task}` without inline payloads, each once: {told}.")
    write(arguments.json, {"machine": machine(), "jobs": [asdict(j) for j in jobs]})


FIGURES = ("round_s", "total_s", "bytes", "payload_bytes", "disk_bytes")

if __name__ == "__main__":
    main()

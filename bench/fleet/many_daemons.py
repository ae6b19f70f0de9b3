"""Many real daemons in a tree of groups on one machine end a job: how long it takes, and what each one costs.

    python bench/fleet/many_daemons.py [--nodes 40 100] [--group 10] [--rounds 10] [--rows FILE] [--json FILE]

Every tenth node leads a group of which all are linked to it; the leaders are linked to the first one, which
asks for a job on the digits that waits for all.  Trainers are forks of one process
(`muster.node.trainer.fork_server`); `--no-forks` has every daemon start its own.  Memory is proportional
(PSS): what several share counts once.  `--rows` keeps each row as it comes and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from muster.emulation.scenario_file import parse
from muster.node.trainer.forks import FORKS
from small_fleet import SmallFleet, machine, small_fleet, write

LINK = "{ rate_kbit_s = 100000, delay_ms = 2 }"
LIMIT_S = 1800.0
AT_ONCE = 4  # daemons that start beside each other


def tree(count: int, group: int) -> str:
    """A scenario: the leaders around the first one, each with its group around it."""
    names = [f"n{number:03d}" for number in range(count)]
    leaders = names[::group]
    stars = [
        (leaders[0], leaders[1:]),
        *((lead, names[i * group + 1 : (i + 1) * group]) for i, lead in enumerate(leaders)),
    ]
    nodes = ", ".join(f'{{ name = "{name}" }}' for name in names)
    return f"nodes = [{nodes}]\n" + "".join(
        f'[[stars]]\nhub = "{hub}"\nnodes = {json.dumps(around)}\nlink = {LINK}\n'
        for hub, around in stars
        if around
    )


@contextlib.contextmanager
def forks() -> Iterator[int | None]:
    """A fork server while this lasts; its process id."""
    with tempfile.TemporaryDirectory(prefix="muster-forks-") as folder:
        os.environ[FORKS] = str(Path(folder) / "socket")
        command = [sys.executable, "-m", "muster.node.trainer.fork_server", "muster.learning.digits"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
        ) as server:
            assert server.stdout is not None
            server.stdout.readline()
            try:
                yield server.pid
            finally:
                del os.environ[FORKS]
                server.terminate()


def pss_mb(pids: Sequence[int]) -> float:
    """Megabytes of these processes, what they share with others in proportion."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1000


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


async def start(fleet: SmallFleet, count: int) -> list[int]:
    """All daemons, a few at a time; their process ids."""
    pids: list[int] = []
    waiting = asyncio.Semaphore(AT_ONCE)
    names = fleet.request.scenario.names()

    async def one(number: int) -> None:
        async with waiting:
            process = await fleet.spawn(number)
            pids.append(process.pid)
            await fleet.until_linked(names[number], 0, LIMIT_S)

    await asyncio.gather(*(one(number) for number in range(count)))
    return pids


async def measure(count: int, group: int, rounds: int, server: int | None) -> dict[str, Any]:
    scenario = parse(tree(count, group), f"tree{count}", "bench")
    async with small_fleet(scenario) as fleet:
        began_s = time.monotonic()
        pids = await start(fleet, count)
        hub = scenario.names()[0]
        while True:
            seen = await fleet.snapshot(hub)
            if seen is not None and sum(peer.reachable for peer in seen.peers) >= count - 1:
                break
            if time.monotonic() - began_s > LIMIT_S:
                raise SystemExit(f"{hub} did not hear of all within {LIMIT_S:g} s")
            await asyncio.sleep(1.0)
        ready_s = time.monotonic() - began_s
        before = sent_bytes(await everyone(fleet))
        client = fleet.client(hub)
        job = await asyncio.to_thread(
            client.train, "digits", rounds=rounds, min_nodes=count, codec="stc:0.05"
        )
        asked_s = time.monotonic()
        daemons_mb = trainers_mb = 0.0
        while True:
            await asyncio.sleep(1.0)
            daemons_mb = max(daemons_mb, pss_mb(pids))
            own = [pid for daemon in pids for pid in children(daemon)]
            trainers_mb = max(trainers_mb, pss_mb([server, *children(server)] if server else own))
            seen = await fleet.snapshot(hub)
            view = next((j for j in seen.jobs if j.id == job), None) if seen else None
            if view is not None and view.state == "finished":
                break
            if time.monotonic() - asked_s > LIMIT_S:
                why = view.why if view is not None else "the first node does not answer"
                raise SystemExit(f"{count} daemons did not end the job within {LIMIT_S:g} s: {why}")
        job_s = time.monotonic() - asked_s
        after = sent_bytes(await everyone(fleet))
        log = await asyncio.to_thread(client.log, job)
        took_part = {node for commit in log.commits for node in commit.nodes}
        return {
            "nodes": count, "group": group, "rounds": rounds, "forks": server is not None,
            "machine": machine(),
            "ready_s": ready_s, "job_s": job_s, "took_part": len(took_part), "accuracy": view.accuracy,
            "daemon_mb": daemons_mb / count, "trainer_mb": trainers_mb / count,
            "sent_kb_s": {part: (after[part] - before[part]) / 1000 / job_s / count for part in after},
        }  # fmt: skip


async def everyone(fleet: SmallFleet) -> list[Any]:
    found = [await fleet.snapshot(name) for name in fleet.request.scenario.names()]
    return [seen.node.sent for seen in found if seen is not None]


def sent_bytes(sent: Sequence[Any]) -> dict[str, float]:
    parts = ("payload", "records", "exchange", "presence")
    return {part: float(sum(getattr(one, part) for one in sent)) for part in parts}


def kept(path: Path | None) -> list[dict[str, Any]]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[40, 100])
    parser.add_argument("--group", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--no-forks", action="store_true")
    parser.add_argument("--rows", type=Path, help="a file that keeps each row")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.rows:
        arguments.rows.open("a").close()  # a wrong path is said before an hour is spent
    rows = []
    for count in arguments.nodes:
        wanted = {"nodes": count, "group": arguments.group, "rounds": arguments.rounds}
        wanted["forks"] = not arguments.no_forks
        row = next((r for r in kept(arguments.rows) if wanted.items() <= r.items()), None)
        if row is None:
            with contextlib.nullcontext(None) if arguments.no_forks else forks() as server:
                row = asyncio.run(measure(count, arguments.group, arguments.rounds, server))
            if arguments.rows:
                with arguments.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
        rows.append(row)
        print(
            f"{count} daemons: all in reach after {row['ready_s']:.0f} s, the job over after "
            f"{row['job_s']:.0f} s, {row['took_part']} took part, accuracy {row['accuracy']}; "
            f"{row['daemon_mb']:.0f} MB a daemon, {row['trainer_mb']:.0f} MB a trainer; kB/s a node: "
            + ", ".join(f"{part} {value:.2f}" for part, value in row["sent_kb_s"].items()),
            flush=True,
        )
    write(arguments.json, rows)


if __name__ == "__main__":
    main()

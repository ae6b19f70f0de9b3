"""What nodes send while a job runs, by how many there are and how they are linked, in the simulation.

    python bench/scale/presence.py [--nodes 10 30 60] [--shapes mesh six] [--rounds 6] [--json FILE]
                                   [--rows FILE]

The daemon's own code runs in virtual time over links of 1 MB/s that delay by 5 ms: every node linked to every
other one ("mesh"), or to six ("six": a ring and chords).  One node asks for a job in which all take part.
Counted is what a node sends from the third round's head to the last one's, before the engine's framing, and
the processor's time of the whole simulation a node and second of its time.  `--rows` keeps each row as it
comes and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import gc
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean

from muster.network.transport.traffic_counters import BytesSent
from muster.node.api.job_requests import open_job
from muster.protocol.ids import JobId
from muster.protocol.parts import CLASSES, Recipe, StopRule
from muster.protocol.records import Job
from muster.simulation.specs import MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.trainers import kinds
from muster.simulation.virtual.lives import LIFE, LivesLoop
from muster.simulation.virtual.pipe import PathParams
from muster.simulation.world import World

STARTS_S, LIMIT_S = 15.0, 1800.0
FIRST_ROUND = 3  # before it nodes get to know each other
LINK = PathParams(1_000_000.0, 0.005)
STEPS, STEP_S = 20, 0.2
CHORDS = (1, 7, 17)  # of the ring in which everybody has six neighbours
PARTS = ("presence", "exchange", "records", "payload")


@dataclass(frozen=True)
class Row:
    """A fleet. Bytes are a node's a second, on average and at most; `cpu_ms`: a node and second."""

    shape: str
    nodes: int
    links: float  # a node's
    seconds: float
    presence: float
    exchange: float
    records: float
    payload: float
    most: float  # all of it, of the node that sends most
    presence_share: float  # of a link's rate, on the link that carries most of it
    stale_s: float  # age of what a node knows of another one, on average, and
    stale_most_s: float
    false_away: int  # nodes that another one takes for away, looked at every second
    cpu_ms: float


def pairs(shape: str, count: int) -> Iterator[tuple[int, int]]:
    """Which nodes are linked."""
    if shape == "mesh":
        yield from ((a, b) for a in range(count) for b in range(a + 1, count))
        return
    found = {(min(a, b), max(a, b)) for a in range(count) for c in CHORDS if (b := (a + c) % count) != a}
    yield from sorted(found)


def spec_of(shape: str, count: int) -> WorldSpec:
    nodes = tuple(MachineSpec(f"n{i:03d}", 100, STEP_S, 0.01 * i) for i in range(count))
    links = tuple(WireSpec(nodes[a].name, nodes[b].name, LINK) for a, b in pairs(shape, count))
    return WorldSpec(1, nodes, links, TaskSpec("linear", 300), ())


def play(shape: str, count: int, rounds: int) -> Row:
    gc.disable()
    loop = LivesLoop(LIMIT_S + 1000.0)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_run(shape, count, rounds))
    finally:
        gc.enable()
        asyncio.set_event_loop(None)
        loop.close()


async def _run(shape: str, count: int, rounds: int) -> Row:
    world = World(spec_of(shape, count))
    for machine in world.machines.values():
        machine.start_later(machine.spec.starts_s)
    await asyncio.sleep(STARTS_S)
    asker = world.machines["n000"]
    core = asker.core
    assert core is not None
    recipe = Recipe(0.05, 10, STEPS, 1, codec="stc:0.05", down_codec="stc:0.05")
    job = Job(
        kinds.task_name(world.spec.task), world.layout.fingerprint(), recipe, StopRule(rounds=rounds), 1,
        20.0, b"1", CLASSES,
    )  # fmt: skip

    async def asked() -> JobId:
        return open_job(core, job, core.store.put_blob(kinds.initial_blob(world.spec.task)))

    context = contextvars.copy_context()
    context.run(LIFE.set, asker.life)
    job_id = await asyncio.get_running_loop().create_task(asked(), context=context)
    began: tuple[float, float, dict[str, dict[bytes, BytesSent]]] | None = None
    ages: list[float] = []
    false_away = 0
    while True:
        await asyncio.sleep(1.0)
        assert world.now() < LIMIT_S, f"{shape} of {count}: not over after {LIMIT_S:g} s"
        runner = core.jobs.runners[job_id]
        head = runner.head()
        if head is not None and head.round >= FIRST_ROUND and began is None:
            began = (world.now(), time.process_time(), _sent(world))
        if began is not None:
            found = list(_ages(world))
            ages += [age_s for age_s, _ in found]
            false_away += sum(not lively for _, lively in found)
        if head is not None and runner.view.finished(head):
            break
    assert began is not None
    row = _row(world, shape, count, began, time.process_time() - began[1], ages, false_away)
    await world.close()
    return row


def _ages(world: World) -> Iterator[tuple[float, bool]]:
    """Of each node and each other one: the age of what is known of it, and whether it is lively."""
    cores = [machine.core for machine in world.machines.values() if machine.core is not None]
    for core in cores:
        for other in cores:
            age_s = core.presence.age_s(other.node)
            if other is not core:
                yield (LIMIT_S if age_s is None else age_s), core.presence.lively(other.node)


def _sent(world: World) -> dict[str, dict[bytes, BytesSent]]:
    return {
        name: {
            node: BytesSent(**asdict(sent))
            for node, sent in machine.core.exchange.traffic.by_neighbour.items()
        }
        for name, machine in world.machines.items()
        if machine.core is not None
    }


def _row(
    world: World,
    shape: str,
    count: int,
    began: tuple[float, float, dict[str, dict[bytes, BytesSent]]],
    cpu_s: float,
    ages: list[float],
    false_away: int,
) -> Row:
    seconds, before, after = world.now() - began[0], began[2], _sent(world)
    none = BytesSent()
    rates = {  # by node, by neighbour, by part: bytes a second
        name: {
            other: {
                p: (getattr(sent, p) - getattr(before[name].get(other, none), p)) / seconds for p in PARTS
            }
            for other, sent in links.items()
        }
        for name, links in after.items()
    }
    by_node = {n: {p: sum(link[p] for link in links.values()) for p in PARTS} for n, links in rates.items()}
    every = [link["presence"] for links in rates.values() for link in links.values()]
    presence, exchange, records, payload = (mean(parts[p] for parts in by_node.values()) for p in PARTS)
    return Row(
        shape, count, mean(map(len, after.values())), seconds, presence, exchange, records, payload,
        max(sum(parts.values()) for parts in by_node.values()), max(every) / LINK.rate_bytes_s,
        mean(ages), max(ages), false_away, 1000.0 * cpu_s / seconds / count,
    )  # fmt: skip


def kept(path: Path | None) -> dict[tuple[str, int, int], Row]:
    """The rows of an earlier run, by shape, nodes and rounds."""
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {
        (row["shape"], row["nodes"], row["rounds"]): Row(**{f.name: row[f.name] for f in fields(Row)})
        for row in rows
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 30, 60])
    parser.add_argument("--shapes", nargs="+", choices=("mesh", "six"), default=["mesh", "six"])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rows", type=Path, help="a file that keeps each row")
    arguments = parser.parse_args()
    found = kept(arguments.rows)
    rows = []
    print(
        "| shape | nodes | links | kB/s a node | presence | exchange | records | share of a link | age s "
        "| oldest s | taken for away | ms |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for shape in arguments.shapes:
        for count in arguments.nodes:
            row = found.get((shape, count, arguments.rounds)) or play(shape, count, arguments.rounds)
            rows.append(row)
            if arguments.rows and (shape, count, arguments.rounds) not in found:
                with arguments.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(row) | {"rounds": arguments.rounds}) + "\n")
            total = row.presence + row.exchange + row.records + row.payload
            print(
                f"| {shape} | {count} | {row.links:.1f} | {total / 1000:.2f} | {row.presence / 1000:.2f} "
                f"| {row.exchange / 1000:.2f} | {row.records / 1000:.2f} | {row.presence_share:.2%} "
                f"| {row.stale_s:.1f} | {row.stale_most_s:.0f} | {row.false_away} | {row.cpu_ms:.1f} |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

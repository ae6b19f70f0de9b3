"""Small fleets in virtual time, in the middle of a job, whose homes can be given any record."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from muster.history.point import Point
from muster.network.sync.ledger import job_of
from muster.network.sync.record_compression.compressor import CannotDecompress, RecordCompressor
from muster.network.trust.signing import seal
from muster.node.api.inspection import show
from muster.node.api.rows.state_stream import Watcher
from muster.node.api.snapshot_builder import snapshot
from muster.node.core import Core
from muster.protocol.ids import NOBODY, JobId, NodeId, RecordId
from muster.protocol.records import Record
from muster.simulation.identities import PretendIdentity
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.virtual.event_loop import Deadlock, OutOfTime, Standstill
from muster.simulation.virtual.lives import LivesLoop
from muster.simulation.virtual.pipe import PathParams
from muster.simulation.world import World
from muster.storage.memory import MemoryStore

ROUNDS = 14
AT_ROUND = 4  # of the job, when the homes are taken
FACTS = dict.fromkeys(("version", "home"), "") | {"listen": [], "installed": [], "pid": 1, "began_t": 0.0}
ELSEWHERE: NodeId = b"e" * 32  # a neighbour that is out of reach by now
LINK = PathParams(rate_bytes_s=125_000.0, delay_s=0.01)


@dataclass(frozen=True)
class Homes:
    """The disks of a fleet in the middle of a job, and what its nodes wrote."""

    spec: WorldSpec
    job: JobId
    disks: dict[str, MemoryStore]
    records: dict[RecordId, tuple[NodeId, Record]]
    head: Point

    def of_kind(self, kind: str) -> list[tuple[NodeId, Record]]:
        return [(author, record) for author, record in self.records.values() if kind == record.KIND]


def spec_of(names: str, *, rounds: int = ROUNDS, target: float | None = None) -> WorldSpec:
    """Each with each; `a` asks at once."""
    return WorldSpec(
        7,
        tuple(MachineSpec(n, 100, 0.05) for n in names),
        tuple(WireSpec(a, b, LINK) for i, a in enumerate(names) for b in names[:i]),
        TaskSpec("linear", 40),
        (JobSpec("a", 2.0, rounds, None, 6, 0.05, 4.0, 2, "quant8", "quant8", target=target),),
    )


@cache
def homes(names: str) -> Homes:
    """The fleet's homes after `AT_ROUND` rounds."""
    spec = spec_of(names)

    async def main() -> Homes:
        world = World(spec)
        for machine in world.machines.values():
            await machine.start()
        await asyncio.sleep(2.0)
        assert await world.ask(spec.jobs[0])
        job = world.jobs[0].id
        for _ in range(2000):
            await asyncio.sleep(0.1)
            heads = [r.head() for m in world.up() if (r := m.runner(job)) is not None]
            if len(heads) == len(names) and all(h is not None and h.round >= AT_ROUND for h in heads):
                break
        head = heads[0]
        assert head is not None
        await world.close()
        disks = {name: clone(machine.disk) for name, machine in world.machines.items()}
        return Homes(spec, job, disks, dict(world.archive.records), head)

    found, faults = in_virtual_time(main)
    assert not faults
    return found


def clone(disk: MemoryStore) -> MemoryStore:
    """A copy of what is durable; unfinished blobs are left out."""
    copy = MemoryStore(random.Random(0))
    copy.incarnation = disk.incarnation
    copy._blobs, copy._state = dict(disk._blobs), dict(disk._state)
    for stored in disk._records:
        copy.add(stored.id, stored.kind, stored.job, stored.wire, stored.source)
    return copy


def signed(author: NodeId, record: Record, names: str) -> tuple[RecordId, bytes]:
    """The record as its author, a node of the fleet or its authority, would sign it."""
    whose = {PretendIdentity(n).node: PretendIdentity(n) for n in (*names, "authority")}
    return seal(whose[author] if author != NOBODY else next(iter(whose.values())), record)


def plant(disk: MemoryStore, record_id: RecordId, record: Record, wire: bytes, source: NodeId) -> None:
    """Keep a record without any check, as an earlier version did."""
    disk.add(record_id, record.KIND, job_of(record, record_id), wire, source)


@dataclass
class Played:
    """What came of a fleet."""

    faults: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # of kind "error", by `a`
    refused: str = ""
    rounds: dict[str, int] = field(default_factory=dict)  # by node: how many more than at the beginning
    finished: dict[str, str | None] = field(default_factory=dict)
    records: set[str] = field(default_factory=set)  # nodes that keep the planted record and give it to others


def play(
    fleet: Homes,
    planted: Sequence[tuple[RecordId, NodeId, Record, bytes]],
    *,
    live: bool,
    seconds: float,
    restart: bool = False,
    done: Callable[[Played], bool] = lambda played: False,
) -> Played:
    """Start the fleet with records that `a` has in its home, or (`live`) gets from a neighbour, and play."""
    played = Played()

    async def main() -> None:
        world = World(fleet.spec)
        for name, machine in world.machines.items():
            machine.disk = clone(fleet.disks[name])
        if not live:
            for record_id, _, record, wire in planted:
                plant(world.machines["a"].disk, record_id, record, wire, ELSEWHERE)
        for machine in world.machines.values():
            await machine.start()
        core = world.machines["a"].core
        assert core is not None
        if live:
            await asyncio.sleep(1.5)
            for record_id, _, _, wire in planted:
                if core.ledger.receive(wire, ELSEWHERE) is None:
                    played.refused = core.ledger.refusals.last
                else:
                    compresses(core, record_id, wire)
        elif core.ledger.quarantined:
            played.refused = core.ledger.refusals.last
        ends_s = world.now() + seconds
        while world.now() < ends_s:
            await asyncio.sleep(2.0)
            await look(world, fleet, played)
            if done(played):
                break
        if restart:
            machine = world.machines["a"]
            machine.kill()
            await machine.start()
            await asyncio.sleep(seconds)
            await look(world, fleet, played)
        core = world.machines["a"].core
        assert core is not None
        played.said = [line.text for line in core.log.events if line.kind == "error"]
        names = {record_id for record_id, *_ in planted}
        played.records = {n for n, m in world.machines.items() if names & set(m.disk._by_id)}
        await world.close()

    _, faults = in_virtual_time(main)
    played.faults += faults
    return played


async def look(world: World, fleet: Homes, played: Played) -> None:
    """Read everything that people and programs read, on every node."""
    for name, machine in world.machines.items():
        core = machine.core
        if core is None:
            continue
        await read(core)
        for runner in core.jobs.runners.values():
            if runner.error is not None and runner.error.startswith("internal"):
                played.faults.append(f"{name}: {runner.error}")
        runner_ = core.jobs.runners.get(fleet.job)
        head = runner_.head() if runner_ is not None else None
        if runner_ is not None and head is not None:
            played.rounds[name] = head.round - fleet.head.round
            played.finished[name] = runner_.finished()


async def read(core: Core) -> None:
    """The snapshot, the page's rows and each commit, as JSON."""
    now_s = asyncio.get_running_loop().time()
    whole = snapshot(core, version="", uptime_s=1.0, home="", listen=[], tasks=[], unlinked=[], now_s=now_s)
    msgspec.json.encode(whole)
    msgspec.json.encode(Watcher(core, lambda: FACTS).look(now_s))
    for runner in core.jobs.runners.values():
        points = list(runner.view.graph.points.values())
        for point in points[-6:]:
            msgspec.json.encode(await show(core, point.id.hex()))


def compresses(core: Core, record_id: RecordId, wire: bytes) -> None:
    """What this node sends of a record, another one reads."""
    compressor = RecordCompressor(core.store, core.node)
    try:
        again = compressor.decompress(compressor.compress(record_id, wire))
    except CannotDecompress:  # an id that begins like another one: it is asked for in full
        return
    assert again == wire, "a record comes out of its compression as another one"


def in_virtual_time(main: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, list[str]]:
    """What `main` returns, and all that went wrong beside."""
    loop = LivesLoop(100_000.0)
    asyncio.set_event_loop(loop)
    result, faults = None, []
    try:
        result = loop.run_until_complete(main())
    except (OutOfTime, Deadlock, Standstill) as error:
        faults.append(repr(error))
    except Exception as error:
        faults.append(where(error))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.until_s = float("inf")
        if left := asyncio.all_tasks(loop):
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
    faults += [where(fault) for fault in loop.faults]
    return result, faults


def where(fault: BaseException) -> str:
    """What went wrong, and where."""
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"{fault!r} at {place}"

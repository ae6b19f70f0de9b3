"""The mutation table: nasty values in each field of each record, given to a fleet in the middle of a job."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from mutants import mutants
from poisoned import Homes, Played, homes, play, signed

from muster.history.graph import merge_of
from muster.network.sync.admission import Admission
from muster.protocol.ids import NOBODY, NodeId, RecordId
from muster.protocol.parts import (
    Assignment,
    Cost,
    Discarded,
    Payload,
    Power,
    Prune,
    Spent,
    StandIn,
    Steering,
    StopRule,
    Target,
)
from muster.protocol.records import (
    Commit,
    Contribution,
    Job,
    Need,
    Offer,
    Record,
    Refusal,
    Revocation,
    Shared,
    Stop,
    Update,
    Use,
)
from muster.simulation.identities import PretendIdentity

NAMES = "ab"
ENDS_THE_JOB = ("stop",)  # a valid one does what it says

SKETCH = struct.pack("<4e", 0.5, -1.0, 0.0, 3.0)
STEERING = Steering(20, 1, True, 2, 0, 0.5, 0.4, 9)


@dataclass(frozen=True)
class Row:
    """One mutant, and what came of it: "refused", "taken", or the fault that it caused."""

    field: str
    value: Any
    outcome: str
    why: str


def models(fleet: Homes) -> list[tuple[NodeId, Record]]:
    """One valid record of each kind, and of payloads each form; as of a moment in which they matter."""
    a, b = (PretendIdentity(name).node for name in NAMES)
    job = fleet.job
    found = {
        kind: fleet.of_kind(kind)[-1] for kind in ("member", "job", "offer", "plan", "commit", "measurement")
    }
    head = fleet.head
    commits = [r for _, r in fleet.of_kind("commit") if isinstance(r, Commit)]
    newest = max(commits, key=lambda r: r.round)
    last = newest.folded[-1]
    gone = Discarded(last.node, last.incarnation, last.sequence, "does not fit")
    updates = [(n, r) for n, r in fleet.of_kind("update") if isinstance(r, Update)]
    author, update = max(updates, key=lambda u: u[1].base_round)
    blob = Payload("quant8", 60, blob=bytes(range(32)))
    record_ids = [i for i, (_, r) in fleet.records.items() if isinstance(r, Commit) and r.round in (1, 2)]
    fresh = replace(update, base=head.id, base_round=head.round, sequence=1000)
    limits = StopRule(30, Target("loss", 0.1), 99.0, 10**6, 5, 10**5, 50.0, 9.0)
    others = (StandIn(0, (head.roster.index(last.node),)),)  # whose own update is not counted
    costs = tuple(Cost(900, 500, 60, "stc:0.02", 9) for _ in newest.folded)
    return [
        *found.values(),
        (a, replace(found["job"][1], stop=limits)),
        (a, replace(found["job"][1], share="auto", share_bytes=9000, one_shot=50)),
        (a, replace(found["job"][1], prune=Prune(0.5, 2, 8))),
        (a, replace(found["job"][1], like=SKETCH, replay=16)),
        (a, replace(found["job"][1], frozen=bytes(range(32)), frozen_bytes=1000)),
        (a, replace(found["plan"][1], stand_ins=(Assignment(a, 9, "dense32", (b,)),))),
        (b, Offer(job, 5, 50, 10, 0.05, 0.5, 60.0, 1000)),
        (b, Offer(job, 5, 51, 10, 0.05, power=Power(1.0, 4.0, 1e-6, 1e-6, 0.1))),
        (b, Offer(job, 5, 52, 10, 0.05, steps_max=20)),
        (b, Refusal(job, 5, 60, "not now", 3)),
        (author, fresh),
        (author, replace(fresh, payload=blob)),
        (author, replace(fresh, data=(a,))),
        (a, newest),
        (a, replace(newest, costs=costs, missed=(0,), steering=STEERING)),
        (a, replace(newest, joined=(bytes(32),), spent=(Spent(b, 4, 40, 9, 0.5),))),
        (
            a,
            replace(
                newest,
                folded=newest.folded[:-1],
                costs=newest.costs[:-1],
                discarded=(gone,),
                stand_ins=others,
            ),
        ),
        (a, replace(newest, shape=bytes(8) + b"\xa0")),
        (a, replace(newest, delta=replace(blob, size_bytes=50))),
        (a, replace(newest, folded=newest.folded[:-1], costs=newest.costs[:-1], discarded=(gone,))),
        (a, next(r for r in commits if not r.parents)),
        (NOBODY, merge_of(job, *record_ids[:2])[1]),
        (b, Stop(job, "enough")),
        (PretendIdentity("authority").node, Revocation(bytes(32), "lost")),
        (b, Shared(job, 5, 70, "samples", 10, 100, replace(blob, codec="coreset"))),
        (b, Need("linear", bytes(32), 5, 3, 2, SKETCH, 100, 50, 30)),
        (b, Use("linear", bytes(32), 5, 3, job, head.id, record_ids[0], "adopted", 9.0, 50, 30, 2, 40, 35)),
        (a, Contribution(job, head.id, 10, True, 0.1, bytes(4 * len(head.folded)))),
    ]


def admission_of(fleet: Homes) -> Admission:
    """What `a` decides with."""

    def find(record_id: RecordId) -> Record | None:
        known = fleet.records.get(record_id)
        return known[1] if known is not None else None

    return Admission(find)


def every_mutant(fleet: Homes) -> Iterator[tuple[str, Any, NodeId, Record]]:
    for number, (author, record) in enumerate(models(fleet)):
        for path, value, changed in mutants(record):
            yield f"{number}:{path}", value, author, changed


def outcome(fleet: Homes, author: NodeId, record: Record, *, live: bool, seconds: float = 6.0) -> Played:
    record_id, wire = signed(author, record, NAMES)
    planted = [(record_id, author, record, wire)]
    if isinstance(record, Job):  # with a beginning, so that it runs
        first = next(r for _, r in fleet.of_kind("commit") if isinstance(r, Commit) and not r.parents)
        root = replace(first, job=record_id, joined=(author,))
        root_id, root_wire = signed(author, root, NAMES)
        planted.append((root_id, author, root, root_wire))
        seconds = 20.0
    return play(fleet, planted, live=live, seconds=seconds, restart=live)


def judged(played: Played, record: Record) -> tuple[str, str]:
    """(outcome, why)"""
    if played.faults:
        return "FAULT", played.faults[0]
    stands = [name for name, rounds in played.rounds.items() if rounds < 1 and not played.finished[name]]
    if (stands or len(played.rounds) < len(NAMES)) and record.KIND not in ENDS_THE_JOB:
        return "STANDS", f"{stands or 'no head'}: {played.said[-1:]}"
    early = [why for why in played.finished.values() if why and "rounds done" not in why]
    if early and record.KIND not in ENDS_THE_JOB:
        return "ENDS", str(early[0])
    return ("refused", played.refused) if played.refused else ("taken", "")


def table(every: int = 1, first: int = 0) -> Iterator[Row]:
    """The rows; only each `every`-th, from `first` on."""
    fleet = homes(NAMES)
    admission = admission_of(fleet)
    for number, (path, value, author, record) in enumerate(every_mutant(fleet)):
        if number % every != first:
            continue
        fault = admission.fault(record, author)
        if fault is not None:  # `Ledger.receive` does nothing else with it
            yield Row(path, value, "refused", fault)
            continue
        try:
            played = outcome(fleet, author, record, live=True)
        except Exception as error:
            yield Row(path, value, "FAULT", repr(error))
            continue
        yield Row(path, value, *judged(played, record))

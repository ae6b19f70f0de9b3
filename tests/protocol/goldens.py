"""What one version wrote, kept for ever: records of every kind, and a node's home with its bundle.

tests/golden/VERSION/records.json   of every kind some, which have all of its fields between them
tests/golden/VERSION/home           a store and its blobs
tests/golden/VERSION/home.json      what is in it
tests/golden/VERSION/*.pem          bundles
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import msgspec
from consumers import Consumers

from generators import ByChance, Generator
from muster.job.context import Policy, TrainerLike
from muster.network.trust.identity import FleetVerifier, Identity, init_fleet, issue, load_bundle
from muster.network.trust.signing import TrustStore, seal
from muster.node.api.job_requests import open_job
from muster.node.core import Core
from muster.node.event_log import EventLog
from muster.protocol.envelope import encode
from muster.protocol.parts import Recipe, StopRule
from muster.protocol.records import Job, Need, Record, Use
from muster.protocol.validation.limits import has_digest
from muster.protocol.validation.validate import validate
from muster.protocol.versions import VERSION
from muster.simulation.identities import PretendIdentity
from muster.simulation.trainers.linear import (
    TASK,
    LinearTrainer,
    facts_of,
    initial_blob,
    layout_of,
    target_of,
)
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.network import SimNetwork
from muster.storage.disk import DiskStore

ROOT = Path(__file__).parents[1] / "golden"
RELEASED = 0  # the last version of the vocabulary with which Muster was released: its files stay as they are
COMMAND = "python scripts/golden.py"
TRIES = 40_000  # records that are made, of which some of each kind are kept
KINDS = {kind.KIND: kind for kind in get_args(Record)}
LAYOUT = layout_of(40)
NAMES = ("alpha", "bravo", "charlie")


# ---- records ---------------------------------------------------------------------------------------------


def golden_records() -> list[dict[str, str]]:
    """Of every kind the record that says least, and others until each of its fields, and of what is inside,
    is once not its default: those that say most first."""
    consumers = Consumers()
    around = consumers.around  # and a round before one with a digest
    due = replace(around.points[-1], round=next(n for n in range(99) if has_digest(n + 1)))
    generator = Generator(ByChance(random.Random(1)), replace(around, points=(*around.points, due)))
    made: dict[str, list[tuple[frozenset[str], bytes, Record]]] = {kind: [] for kind in KINDS}
    for _ in range(TRIES):
        record = generator.record()[1]
        if validate(record) is None:
            made[record.KIND].append((frozenset(fields_of(record)), encode(record), record))
    consumers.close()
    chosen: list[Record] = []
    for found in made.values():
        chosen.append(min(found, key=lambda one: (len(one[0]), len(one[1]), one[1]))[2])
        left = frozenset[str]().union(*(fields for fields, _, _ in found))
        while left:
            most = max(found, key=lambda one: (len(one[0] & left), -len(one[1]), one[1]))
            chosen.append(most[2])
            left -= most[0]
    return [as_golden(record) for record in chosen]


def fields_of(value: Any, path: str = "") -> Iterator[str]:
    """The fields of a record, and of what is inside, that are not their defaults."""
    if isinstance(value, tuple):
        for one in value:
            yield from fields_of(one, path)
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(type(value)):
            held = getattr(value, field.name)
            if field.required or held != field.default:
                yield f"{path}.{field.name}"
            yield from fields_of(held, f"{path}.{field.name}")


def as_golden(record: Record) -> dict[str, str]:
    record_id, wire = seal(PretendIdentity("alpha"), record)
    return {"kind": record.KIND, "id": record_id.hex(), "wire": wire.hex(), "says": said(record)}


def said(record: Record) -> str:
    """What a record says, by the names of its fields: later versions may know more of them."""
    return json.dumps(_named(record))


def _named(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _named(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_named(one) for one in value]
    return value.hex() if isinstance(value, bytes) else value


# ---- a home ----------------------------------------------------------------------------------------------


def core_of(home: Path, bundle: Path, network: SimNetwork) -> Core:
    """A daemon's core on a home, with the identity of a bundle."""
    identity: Identity = load_bundle(bundle)
    store, number = DiskStore(home), NAMES.index(identity.name)

    async def open_trainer(task: str) -> TrainerLike:
        return LinearTrainer(facts_of(LAYOUT, 50, True), store, target_of(number, 40), 0.01, random.Random(1))

    return Core(
        name=identity.name,
        signer=identity,
        member=identity.member(),
        trust=TrustStore(FleetVerifier(identity.ca_certificate)),
        store=store,
        link=network.link(identity.node, identity.name),
        policy=Policy(),
        open_trainer=open_trainer,
        installed=lambda task: True,
        battery=lambda: None,
        log=EventLog(lambda: 0.0, time.gmtime),
    )


def write_home(target: Path) -> None:
    """A home after one job that ended and one that goes on; a member of three is revoked."""
    with TemporaryDirectory() as scratch:
        made = Path(scratch)
        run(_live(made))
        with sqlite3.connect(made / "alpha" / "store.sqlite") as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        home = target / "home"
        home.mkdir(parents=True)
        shutil.copy(made / "alpha" / "store.sqlite", home)
        shutil.copytree(made / "alpha" / "blobs", home / "blobs")
        for name in NAMES:
            shutil.copy(made / f"{name}.pem", target)
        shutil.copy(made / "home.json", target)


async def _live(made: Path) -> None:
    fleet = init_fleet(made / "fleet", "golden")
    for name in NAMES:
        issue(made / "fleet", name, made / f"{name}.pem")
    network = SimNetwork(random.Random(1))
    cores = {name: core_of(made / name, made / f"{name}.pem", network) for name in NAMES}
    alpha = cores["alpha"]
    for other in NAMES[1:]:
        network.connect(alpha.node, cores[other].node)
    for core in cores.values():
        await core.start()
    await asyncio.sleep(20)
    for round_, rounds in ((3, 3), (2, 10_000)):
        job = _ask(alpha, rounds)
        while _round(alpha, job) < round_:
            await asyncio.sleep(0.5)
        await asyncio.sleep(5.0 if rounds == 3 else 0.0)
    need = Need(TASK, bytes(32), alpha.store.incarnation, 1, 1, b"", 0, 30, 12)
    alpha.ledger.publish(need)
    alpha.ledger.publish(Use(TASK, bytes(32), alpha.store.incarnation, 1, b"", b"", b"", "first", 0.0))
    alpha.ledger.receive(fleet.revoke(cores["charlie"].node, "stolen")[1], b"")
    for core in cores.values():
        await core.close()
    shutil.copytree(made / "alpha", made / "copy")  # a start goes on with the job
    again = core_of(made / "copy", made / "alpha.pem", SimNetwork(random.Random(1)))
    await again.start()
    (made / "home.json").write_text(json.dumps(contents(again), indent=1) + "\n")
    await again.close()


def _ask(core: Core, rounds: int) -> bytes:
    recipe = Recipe(0.1, 10, 4, 0, codec="quant8", down_codec="quant8")
    fingerprint = facts_of(LAYOUT, 50, True).fingerprint
    job = Job(TASK, fingerprint, recipe, StopRule(rounds=rounds), 3, 2.0, rounds.to_bytes(2, "big"))
    return open_job(core, job, core.store.put_blob(initial_blob(LAYOUT)))


def _round(core: Core, job: bytes) -> int:
    head = core.jobs.runners[job].head()
    return head.round if head is not None else 0


def contents(core: Core) -> dict[str, Any]:
    """What a node knows by its home."""
    jobs = {}
    for job, runner in core.jobs.runners.items():
        head = runner.head()
        assert head is not None
        jobs[job.hex()] = {
            "head": head.id.hex(),
            "round": head.round,
            "params": runner.models.blob_of(head.id).hex(),
            "finished": runner.finished(),
            "points": len(runner.view.graph.points),
            "updates": len(runner.view.updates),
            "offers": sorted(core.trust.name(node) for node in runner.view.offers),
        }
    trust = core.trust
    return {
        "incarnation": core.store.incarnation,
        "members": {known.name: node.hex() for node, known in trust.members().items()},
        "revoked": [trust.name(node) for node in trust.members() if trust.revoked(node)],
        "kinds": {kind: len(found) for kind in KINDS if (found := core.ledger.load(kind))},
        "jobs": jobs,
    }


def write(target: Path) -> None:
    """All files of this version, in the place of those that are there."""
    if target.exists():
        shutil.rmtree(target)
    write_home(target)
    lines = ",\n".join(json.dumps(golden, indent=1) for golden in golden_records())
    (target / "records.json").write_text(f"[\n{lines}\n]\n")


def of_this_version() -> Path:
    return ROOT / str(VERSION)

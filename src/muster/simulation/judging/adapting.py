"""Do those take part in a job for nodes with a like need whom it concerns, and nobody else?

And does everybody know what each node needs and uses?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from muster.protocol.ids import CommitId, NodeId, RecordId, short
from muster.protocol.records import Need, Offer, Refusal, Update, Use
from muster.simulation.machine import Machine
from muster.simulation.needs import UNNEEDED, works_for
from muster.simulation.world import Asked, World

NEAR_MAX = 0.4  # of a sketch; and of so many samples at least: written here again on purpose
SAMPLES_MIN = 40
JOINS_S = 130.0  # within which a node takes part that is concerned: two looks at what may have changed
LEAVES_S = 130.0  # within which a node leaves whose need is met; what it trains may take a while
KINDS = ("need", "use")


@dataclass
class ConcernWatch:
    """Filled by looking now and then: nodes that stay out of a job although it concerns them."""

    late: dict[tuple[str, str], str] = field(default_factory=dict)  # by job and node
    _since_s: dict[tuple[Asked, Machine, int], float] = field(default_factory=dict)

    def look(self, world: World) -> None:
        """Note which nodes are concerned and say that they are not."""
        now_s, out = world.now(), {}
        for asked in world.jobs:
            for machine in world.up() if asked.spec.adapts else ():
                if _stays_out(world, machine, asked):
                    key = asked, machine, machine.lives
                    out[key] = since_s = self._since_s.get(key, now_s)
                    if now_s - since_s >= JOINS_S:
                        job, name = short(asked.id), machine.spec.name
                        self.late.setdefault((job, name), f"{name} is not in {job} after {JOINS_S:.0f} s")
        self._since_s = out

    def judged(self) -> Iterator[str]:
        for sentence in self.late.values():
            yield f"concerned: {sentence}"


def _stays_out(world: World, machine: Machine, asked: Asked) -> bool:
    core, life = machine.core, machine.life
    if core is None or life is None or life.paused or machine.disk.is_full:
        return False
    runner = core.jobs.runners.get(asked.id)
    if runner is None or runner.finished() is not None or not works_for(world, machine, asked):
        return False
    need = core.field.need(machine.node, runner.view.job.task)
    last = runner.view.last_answer(machine.node)
    if need is None or need.over or not isinstance(last, Refusal):
        return False
    return last.reason.startswith("not concerned")


def adapted(world: World, asked: Asked) -> Iterator[str]:
    """Nobody trains without a need like the asker's, or on and on when it is met."""
    if not asked.spec.adapts:
        return
    archive = world.archive
    level = world.machines[asked.spec.asker].spec.sketch
    assert level is not None
    since: dict[NodeId, float] = {}
    met: dict[NodeId, float] = {}
    for record_id, (author, record) in archive.records.items():
        if isinstance(record, Need) and record.over:
            met[author] = archive.when[record_id]
        elif isinstance(record, Need):
            met.pop(author, None)
        if isinstance(record, Need) and record.sketch_samples >= SAMPLES_MIN:
            off = np.abs(np.frombuffer(record.sketch, "<f2").astype(float) - level).mean()
            if off < NEAR_MAX:
                since[author] = min(since.get(author, archive.when[record_id]), archive.when[record_id])
    for record_id, (author, record) in archive.records.items():
        if not isinstance(record, Update) or record.job != asked.id or author not in world.by_node:
            continue
        if archive.when[record_id] < since.get(author, float("inf")):
            yield f"not concerned: {world.by_node[author].spec.name} trains all the same"
            return
        if archive.when[record_id] > met.get(author, float("inf")) + LEAVES_S:
            yield f"its need is met: {world.by_node[author].spec.name} trains on"
            return


def needless(world: World, asked: Asked) -> str | None:
    """What is missing until a job is over everywhere that nobody needs any more, or None."""
    said = {}
    for machine in world.standing() if asked.spec.adapts else ():
        runner = machine.runner(asked.id)
        if runner is not None:
            said[machine.spec.name] = runner.finished()
    if all(said.values()) and len({why == UNNEEDED for why in said.values()}) < 2:
        return None
    if any(why == UNNEEDED for why in said.values()):
        return f"only {[name for name, why in said.items() if why == UNNEEDED]} say that nobody needs the job"
    met = all(_left(world, asked, machine) for machine in world.standing())
    return f"nobody needs the job, and it goes on: {said}" if met else None


def ended(world: World, asked: Asked) -> Iterator[str]:
    """A job is over as nobody needs it only where all that took part have said so."""
    for machine in world.standing():
        runner = machine.runner(asked.id)
        if runner is not None and runner.finished() == UNNEEDED and not _left(world, asked, machine):
            yield f"needless: {machine.spec.name} ends the job, and others need it"
            return


def _left(world: World, asked: Asked, machine: Machine) -> bool:
    """Whether by a machine's disk the asker and all that ever offered refuse the job as none of theirs."""
    answers: dict[NodeId, list[tuple[RecordId, Offer | Refusal]]] = {
        world.machines[asked.spec.asker].node: []
    }
    for stored in (s for kind in ("offer", "refusal") for s in machine.disk.select(kind, asked.id)):
        author, record = world.archive.records.get(stored.id, (b"", None))
        if isinstance(record, Offer | Refusal):
            answers.setdefault(author, []).append((stored.id, record))
    offered = {n for n, given in answers.items() if any(isinstance(a, Offer) for _, a in given)}
    last = {n: max(answers[n], key=_newness, default=None) for n in {*offered, next(iter(answers))}}
    found = (answer[1] if answer is not None else None for answer in last.values())
    return all(isinstance(a, Refusal) and a.reason.startswith("not concerned") for a in found)


def left(world: World, asked: Asked, commit: CommitId) -> set[NodeId]:
    """Who had said at the time of a commit that the job is none of theirs any more."""
    if not asked.spec.adapts:
        return set()
    archive, answers = world.archive, dict[NodeId, Offer | Refusal]()
    known = (r for record_id, r in archive.records.items() if archive.when[record_id] <= archive.when[commit])
    for author, record in known:
        if isinstance(record, Offer | Refusal) and record.job == asked.id:
            answers[author] = record
    return {n for n, a in answers.items() if isinstance(a, Refusal) and a.reason.startswith("not concerned")}


def _newness(answer: tuple[RecordId, Offer | Refusal]) -> tuple[int, int, RecordId]:
    return answer[1].number, answer[1].incarnation, answer[0]


def spoken(world: World) -> Iterator[str]:
    """What nodes said last of their needs and uses is kept everywhere, and nothing that they said before."""
    kept = {m.spec.name: {s.id for kind in KINDS for s in m.disk.select(kind)} for m in world.standing()}
    records = world.archive.records
    for name, ids in kept.items():
        said = [(records[i][0], records[i][1].KIND) for i in ids if i in records]
        if len(said) != len(set(said)):
            yield f"needs: {name} keeps several of one node and task"
        if ids != next(iter(kept.values())):
            yield f"needs: {name} keeps others than {next(iter(kept))}"
    for machine in world.standing():
        for kind in KINDS:
            newest = _newest(world, machine, kind)
            if newest is not None and newest not in kept[machine.spec.name]:
                yield f"needs: {machine.spec.name} does not keep the last {kind} that it said"


def _newest(world: World, machine: Machine, kind: str) -> RecordId | None:
    """The last that a node said since it has its disk."""
    said: list[tuple[int, RecordId]] = []
    for record_id, (author, record) in world.archive.records.items():
        if not isinstance(record, Need | Use) or (author, record.KIND) != (machine.node, kind):
            continue
        if record.incarnation == machine.disk.incarnation:
            said.append((record.number, record_id))
    return max(said)[1] if said else None

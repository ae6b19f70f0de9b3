"""What must hold, whatever happened: judged from the disks and from the archive of all that was written.

Each rule is a function that returns sentences about what is broken; nothing here is used by the product.
"""

from __future__ import annotations

from collections.abc import Iterator

from muster.history.counted import Key
from muster.history.credit import credits
from muster.history.graph import Graph
from muster.history.point import Point
from muster.network.sync.presence import HEARTBEAT_IDLE_S, HEARTBEATS_MAX
from muster.protocol.ids import BlobId, CommitId, short
from muster.protocol.records import Commit, Update
from muster.simulation.judging.adapting import adapted, ended, left, needless, spoken
from muster.simulation.judging.arithmetic import arithmetic
from muster.simulation.judging.borders import throttled
from muster.simulation.judging.deriving import lines, named
from muster.simulation.judging.durability import DurabilityWatch, whole_graph
from muster.simulation.judging.energy import added_up, no_more_than_used
from muster.simulation.judging.expelled import expelled
from muster.simulation.judging.giving import given
from muster.simulation.judging.growing import grown
from muster.simulation.judging.planning import planned
from muster.simulation.judging.residue import residue
from muster.simulation.judging.standing_in import stood_in
from muster.simulation.needs import works_for
from muster.simulation.world import Asked, World

ALONE_PATIENCES = 10  # a node alone waits so long; written here again on purpose

# What a node may hold at the end of an hour, whatever happened (numbers from runs, with a margin).
OUTBOX_MAX = 1000
MODELS_MAX = 24  # and one for each fork
RECORDS_MAX = 300  # and for each commit:
RECORDS_A_COMMIT_MAX = 3  # a node, and
RECORDS_A_COMMIT_MORE = 6
PLANS_PER_COMMIT_MAX = 9
MERGES_MAX = 60  # or, where links come and go all the time (a mule has some 70 contacts an hour),
MERGES_A_CONTACT = 2  # on average, over all contacts
TASKS_MAX = 400  # a node


def judged(world: World) -> list[Asked]:
    """The jobs, but for one of a revoked asker in which nobody took part."""
    return [
        asked
        for asked in world.jobs
        if not world.machines[asked.spec.asker].revoked
        or any(machine.runner(asked.id) is not None for machine in world.standing())
    ]


def settled(world: World) -> str | None:
    """None when all nodes hold one head of each job that ends it; else a sentence about what is missing."""
    for machine in world.up():
        assert machine.core is not None
        for other in world.standing():
            if machine.core.exchange.shared.cut_off(other.node):
                return f"{machine.spec.name} does not hear {other.spec.name}"
    for asked in judged(world):
        missing = _settled(world, asked)
        if missing is not None:
            return missing
    return None


def _settled(world: World, asked: Asked) -> str | None:
    if (missing := needless(world, asked)) is not None:
        return missing
    heads: set[tuple[CommitId, BlobId]] = set()
    for machine in world.standing():
        if not machine.up:
            return f"{machine.spec.name} is not up"
        runner = machine.runner(asked.id)
        if runner is None:
            return f"{machine.spec.name} does not know the job"
        if not works_for(world, machine, asked):
            continue
        held = runner.models.heads()
        if len(held) != 1:
            return f"{machine.spec.name} holds {len(held)} heads"
        if runner.view.finished(held[0]) is None:
            return f"{machine.spec.name}: round {held[0].round} is not the end"
        blob = runner.models.blob_of(held[0].id)
        assert blob is not None
        heads.add((held[0].id, blob))
    if len(heads) > 1:
        return f"{len(heads)} different heads: {', '.join(sorted(short(h) for h, _ in heads))}"
    return None


def running(world: World) -> bool:
    """Whether a job runs: somebody who is up knows one that has not ended."""
    for asked in world.jobs:
        for machine in world.up():
            runner = machine.runner(asked.id)
            if runner is not None and works_for(world, machine, asked) and runner.finished() is None:
                return True
    return False


def broken(world: World, watch: DurabilityWatch) -> list[str]:
    """All rules, after the quiet time."""
    waiting = settled(world)
    if waiting is not None:
        return [f"not settled: {waiting}"]
    found: list[str] = []
    for asked in judged(world):
        graph = whole_graph(world, asked.id)
        if (head := _final(world, asked)) is not None:  # what nobody needs is counted by nobody
            found += _counted(world, watch, asked, graph, head)
        found += lines(world, graph)
        for last in [head] if head is not None else [p.id for p in graph.heads(lambda _: True)]:
            found += arithmetic(world, asked, graph, last)
        found += residue(world, asked, graph)
        found += added_up(world, asked, graph)
        found += _alone(world, asked, graph)
        found += _job_bounds(world, asked, graph)
        found += watch.stalls.judged(world, asked, graph)
        found += planned(world, asked, graph)
        found += stood_in(world, asked, graph)
        found += adapted(world, asked)
        found += ended(world, asked)
    found += _work(world)
    found += _heard(world)
    found += no_more_than_used(world)
    found += _bounds(world)
    found += throttled(world)
    found += given(world)
    found += spoken(world)
    found += grown(world)
    found += watch.concerns.judged()
    if watch.tasks_max > TASKS_MAX * len(world.machines):
        found.append(f"{watch.tasks_max} tasks at once")
    return found


def _final(world: World, asked: Asked) -> CommitId | None:
    """The head that all hold; None: all that needed the job left it before its end."""
    for machine in world.standing():
        runner = machine.runner(asked.id)
        if runner is not None and works_for(world, machine, asked):
            return runner.models.heads()[0].id
    assert asked.spec.adapts, "nobody takes part"
    return None


def _counted(
    world: World, watch: DurabilityWatch, asked: Asked, graph: Graph, head: CommitId
) -> Iterator[str]:
    """Every acknowledged update is counted, or discarded with a reason, in the final history; so is every
    update of a node whose disk is still the one that it was written to."""
    folded: set[Key] = set()
    discarded: dict[Key, str] = {}
    for point in graph.ancestors(head):
        folded |= {Key(x.node, x.incarnation, x.sequence) for x in point.folded}
        if isinstance(point.record, Commit):
            for d in point.record.discarded:
                discarded[Key(d.node, d.incarnation, d.sequence)] = d.reason
    gone = expelled(world, asked.id)
    for work in sorted(watch.acknowledged):
        if work.job == asked.id and work.key not in folded | gone and not discarded.get(work.key):
            yield f"lost: update {named(world, work.key)} was durable on two nodes, nobody counts it"
    for work, how in sorted(watch.stranded.items()):
        if work.job == asked.id and work.key not in gone:
            yield f"not carried: update {named(world, work.key)} stayed on one disk, {how}"
    for work, how in sorted(watch.left.items()):
        if work.job == asked.id and work.key not in gone:
            yield f"not taken along: update {named(world, work.key)}: {how}"
    for machine in world.standing():
        for stored in machine.disk.select("update", asked.id):
            if stored.id not in world.archive.records:
                continue  # that cannot be, and nobody takes it (specs.Poison)
            key, _ = world.archive.update(stored.id)
            own = key.node == machine.node and key.incarnation == machine.disk.incarnation
            if own and key not in folded | gone and not discarded.get(key):
                yield f"lost: update {named(world, key)} is on its author's disk, nobody counts it"
    known = graph.points[head].counted
    if set(known) != folded | set(discarded):
        odd = sorted(set(known) ^ (folded | set(discarded)))
        yield f"the head's counted set differs from its history by {[named(world, k) for k in odd]}"


def _alone(world: World, asked: Asked, graph: Graph) -> Iterator[str]:
    """Once a second node has taken part, one alone commits only after ten patiences."""
    pools = {
        (author, r.incarnation, r.sequence)
        for author, r in world.archive.records.values()
        if isinstance(r, Update) and author in r.data
    }
    for point in graph.points.values():
        record = point.record
        if not isinstance(record, Commit) or not record.folded:
            continue
        parent = graph.points[record.parents[0]]
        helpers = {n for n, machine in world.by_node.items() if not machine.spec.samples}
        before = {s.node for s in parent.spent if s.steps} - helpers - left(world, asked, point.id)
        need = max(asked.spec.min_nodes, 2 if len(before) > 1 else 1)
        of_pool = any((f.node, f.incarnation, f.sequence) in pools for f in record.folded)
        inside = {n for f, nodes in credits(point) for n in (f.node, *(nodes if f.node in helpers else ()))}
        if of_pool or len(inside) >= need:  # or one trained on what all share
            continue
        since_s = world.archive.when[point.id] - world.archive.when[parent.id]
        out_of_time = asked.spec.seconds is not None and point.age_s >= asked.spec.seconds
        if (
            since_s < ALONE_PATIENCES * asked.spec.patience_s - 1e-6
            and not out_of_time
            and not _over(graph, point)
        ):
            yield f"alone too early: {short(point.id)} after {since_s:.0f} s"


def _over(graph: Graph, point: Point) -> bool:
    """Whether a commit is the last one of a job into whose budget no further round fitted."""
    children = (graph.points[child].record for child in graph.children.get(point.id, ()))
    return any(isinstance(record, Commit) and record.over for record in children)


def _work(world: World) -> Iterator[str]:
    """What was trained is on record, unless the process ended or the job did before it could be written."""
    for machine in world.machines.values():
        if machine.thrown_away:
            yield f"work: {machine.spec.name} threw away what it trained, {machine.thrown_away} times"


def _heard(world: World) -> Iterator[str]:
    """In quiet times every node hears of every other one."""
    limit_s = HEARTBEAT_IDLE_S * (len(world.machines) + 2)
    for machine in world.standing():
        for other in world.standing():
            age_s = machine.core.presence.age_s(other.node) if machine.core is not None else None
            if age_s is None or age_s > limit_s:
                yield f"presence: {machine.spec.name} does not hear of {other.spec.name}"


def _job_bounds(world: World, asked: Asked, graph: Graph) -> Iterator[str]:
    merges = sum(p.is_merge for p in graph.points.values())
    if merges > max(MERGES_MAX, MERGES_A_CONTACT * world.contacts):
        yield f"{merges} merges"
    records_max = RECORDS_MAX + len(graph.points) * (
        RECORDS_A_COMMIT_MAX * len(world.machines) + RECORDS_A_COMMIT_MORE
    )
    for machine in world.standing():
        kinds = ("commit", "merge", "offer", "refusal", "plan", "update", "measurement", "stop")
        count = sum(len(machine.disk.select(kind, asked.id)) for kind in kinds)
        if count > records_max:
            yield f"{machine.spec.name} keeps {count} records of one job"
        runner = machine.runner(asked.id)
        for parent, plans in runner.view.plans.items() if runner is not None else ():
            if len(plans) > PLANS_PER_COMMIT_MAX:
                yield f"{machine.spec.name}: {len(plans)} plans on {short(parent)}"


def _forks(graph: Graph) -> int:
    return sum(len(children) > 1 for children in graph.children.values())


def _bounds(world: World) -> Iterator[str]:
    for machine in world.standing():
        core = machine.core
        if core is None:
            continue
        for peer in core.exchange.shared.peers.values():
            if len(peer.outbound.outbox) > OUTBOX_MAX or len(peer.inbound.wanted) > OUTBOX_MAX:
                yield f"{machine.spec.name}: an outbox of {len(peer.outbound.outbox)}"
        if len(core.presence.table) > min(HEARTBEATS_MAX, len(world.machines)):
            yield f"{machine.spec.name} remembers {len(core.presence.table)} nodes"
        records = sum(len(r.wire) for r in machine.disk.since(0, 1 << 30))
        blobs = machine.disk.used_bytes() - records
        forks = max((_forks(r.view.graph) for r in core.jobs.runners.values()), default=0)
        kept = MODELS_MAX + forks  # heads, forks, the last few are kept whatever the limit is
        least = kept * world.layout.blob_bytes * len(world.jobs)
        if blobs > max(machine.spec.disk_limit_bytes, least):
            yield f"{machine.spec.name} keeps {blobs} bytes of blobs"

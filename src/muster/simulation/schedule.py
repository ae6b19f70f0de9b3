"""A random hour from a seed: which nodes, which links, which job, and what goes wrong when.

Nothing here runs anything; a schedule is a value, so that a failing seed replays exactly.  After `heal_s`
everything that broke is whole again, except nodes that died for good.
"""

from __future__ import annotations

import random
from itertools import pairwise

import msgspec

from muster.node.energy.presets import RADIOS
from muster.protocol.parts import Power, Prune
from muster.simulation.episodes import TimedFault, episodes, life_s, may_bury, mule
from muster.simulation.inner_faults import VERSION, clones, inner_faults, revocations
from muster.simulation.specs import Bury, JobSpec, MachineSpec, TaskSpec, Unwilling, WireSpec, WorldSpec
from muster.simulation.virtual.network import Timing
from muster.simulation.virtual.pipe import PathParams

HOUR_S = 3600.0
HEAL_SHARE = 0.75  # of the time; the rest is for healing
NODES_MIN, NODES_MAX = 3, 9
HEAVY_S = 3.0  # that adding up takes on a small device, at most: a third of the worlds; 0 in another third


class Schedule(msgspec.Struct, frozen=True):
    seed: int
    shape: str
    spec: WorldSpec
    events: tuple[TimedFault, ...]
    heal_s: float
    hours: float = 1.0


def draw(seed: int, hours: float = 1.0, version: int = VERSION) -> Schedule:
    """The schedule of a seed; `version`: which kinds of faults are drawn (inner_faults.py)."""
    rng = random.Random(f"schedule/{seed}")
    names = [f"n{i}" for i in range(rng.randint(NODES_MIN, NODES_MAX))]
    shape, pairs = _topology(rng, names)
    heal_s = hours * HOUR_S * HEAL_SHARE
    askers = rng.sample(names, 2)
    nodes = _powered(random.Random(f"power/{seed}"), _nodes(rng, names, askers, heal_s))
    links = tuple(WireSpec(a, b, _link(rng)) for a, b in pairs)
    tiny = rng.random() < 0.25
    task = TaskSpec("tiny" if tiny else "linear", rng.choice((8, 300, 1500, 4000)), common=rng.random() < 0.6)
    jobs = [_job(rng, askers[0], rng.uniform(4.0, 60.0), _willing(nodes), tiny)]
    if rng.random() < 0.35:
        jobs.append(_second(rng, askers[1], jobs[0], nodes, heal_s))
    jobs = [_judged(random.Random(f"metrics/{seed}/{number}"), job) for number, job in enumerate(jobs)]
    planner = random.Random(f"planner/{seed}")
    jobs = [msgspec.structs.replace(job, planned=planner.random() < 0.5) for job in jobs]
    task, jobs[0] = _pruned(random.Random(f"prune/{seed}"), task, jobs[0])
    nodes, jobs = _sharing(random.Random(f"share/{seed}"), nodes, jobs)
    jobs = _one_shot(random.Random(f"one shot/{seed}"), nodes, jobs)
    nodes, jobs = _adapting(random.Random(f"adapt/{seed}"), nodes, jobs)
    nodes = _helpers(random.Random(f"help/{seed}"), nodes, askers, jobs)
    nodes = _later(random.Random(f"later/{seed}"), nodes)
    timing = Timing(lease_s=rng.choice((10.0, 15.0, 30.0)))
    heavy_s = random.Random(f"heavy/{seed}").choice((0.0, 0.5, HEAVY_S))
    spec = WorldSpec(seed, nodes, links, task, tuple(jobs), timing, heavy_s)
    events = mule(rng, pairs, heal_s) if shape == "mule" else []
    events += episodes(rng, names, pairs, spec, heal_s, hours)
    events += inner_faults(seed, names, spec, heal_s, hours, version)
    buried = {e.fault.node for e in events if isinstance(e.fault, Bury)}
    dispensable = {name for name in names if name not in buried and may_bury(spec, pairs, buried | {name})}
    events += revocations(seed, names, spec, pairs, dispensable, heal_s, version)
    events += clones(seed, names, spec, heal_s, version)
    events.sort(key=lambda e: e.at_s)
    return Schedule(seed, shape, spec, tuple(events), heal_s, hours)


def _topology(rng: random.Random, names: list[str]) -> tuple[str, list[tuple[str, str]]]:
    names = rng.sample(names, len(names))
    shape = rng.choice(("mesh", "line", "star", "bridge", "mule"))
    if shape == "mesh":
        return shape, [(a, b) for i, a in enumerate(names) for b in names[:i]]
    if shape == "line":
        return shape, list(pairwise(names))
    if shape in ("star", "mule"):
        return shape, [(names[0], b) for b in names[1:]]
    half = len(names) // 2
    left, right = names[:half], names[half:]
    inside = [(a, b) for group in (left, right) for i, a in enumerate(group) for b in group[:i]]
    return shape, [*inside, (left[0], right[0])]


def _link(rng: random.Random) -> PathParams:
    rate_bytes_s, delay_s, loss = rng.choice(
        ((12_500_000.0, 0.001, 0.0), (1_000_000.0, 0.01, 0.01), (125_000.0, 0.05, 0.02), (8_000.0, 0.1, 0.05))
    )
    messy = rng.random() < 0.5
    return PathParams(
        rate_bytes_s=rate_bytes_s,
        delay_s=delay_s,
        jitter_s=delay_s * rng.random(),
        ask_loss=loss / 2,
        nudge_loss=loss,
        nudge_duplicate=0.1 if messy else 0.0,
        nudge_reorder=0.1 if messy else 0.0,
        nudge_corrupt=0.05 if messy else 0.0,
    )


def _nodes(rng: random.Random, names: list[str], askers: list[str], heal_s: float) -> tuple[MachineSpec, ...]:
    """At most a third of them, and no asker, takes no part."""
    reasons: tuple[Unwilling, ...] = ("policy", "battery", "not_installed", "other_version")
    nodes: list[MachineSpec] = []
    for name in names:
        asks = name in askers
        joins = not asks and rng.random() < 0.2
        tight = rng.random() < 0.25
        unwilling: Unwilling = rng.choice(reasons) if rng.random() < 0.08 else ""
        if asks or sum(bool(n.unwilling) for n in nodes) >= (len(names) - 1) // 3:
            unwilling = ""
        nodes.append(
            MachineSpec(
                name,
                samples=rng.randint(20, 500),
                step_s=rng.choice((0.05, 0.2, 0.5, 1.0)) * (0.5 + rng.random()),
                starts_s=rng.uniform(30.0, 0.6 * heal_s) if joins else 3.0 * rng.random(),
                unwilling=unwilling,
                disk_limit_bytes=rng.randint(80_000, 200_000) if tight else 2_000_000_000,
            )
        )
    return tuple(nodes)


def _powered(rng: random.Random, nodes: tuple[MachineSpec, ...]) -> tuple[MachineSpec, ...]:
    """In a third of the worlds no machine knows what it draws, in another third some do."""
    share = rng.choice((0.0, 0.5, 1.0))
    radios = tuple(RADIOS.values())
    powered = []
    for node in nodes:
        idle_w, core_w, r = rng.uniform(0.1, 5.0), rng.uniform(0.5, 10.0), rng.choice(radios)
        power = Power(idle_w, idle_w + core_w, r.sent_j_byte, r.received_j_byte, r.exchange_j)
        powered.append(msgspec.structs.replace(node, power=power) if rng.random() < share else node)
    return tuple(powered)


def _sharing(
    rng: random.Random, nodes: tuple[MachineSpec, ...], jobs: list[JobSpec]
) -> tuple[tuple[MachineSpec, ...], list[JobSpec]]:
    """In half of the worlds whose jobs prune nothing they ask for samples, and most nodes give some."""
    if rng.random() < 0.5 or any(job.prune is not None for job in jobs):
        return nodes, jobs
    policies = ("samples", "samples", "samples", "means", "none")
    given = tuple(msgspec.structs.replace(node, share=rng.choice(policies)) for node in nodes)
    return given, [msgspec.structs.replace(job, share=rng.choice(("auto", "always"))) for job in jobs]


def _one_shot(rng: random.Random, nodes: tuple[MachineSpec, ...], jobs: list[JobSpec]) -> list[JobSpec]:
    """In a third of the worlds where enough nodes share, jobs begin with a training on all of that."""
    givers = {n.name for n in nodes if n.share != "none" and not n.unwilling} - {job.asker for job in jobs}
    if len(givers) < SHARING_MIN or rng.random() < 2 / 3:
        return jobs
    steps = [rng.randint(50, 400) for _ in jobs]
    return [
        msgspec.structs.replace(
            job, share="always", one_shot=steps[i], rounds=job.rounds and rng.randint(1, job.rounds)
        )
        for i, job in enumerate(jobs)
    ]


NEAR, FAR = 1.0, 3.0  # how inputs changed, in deviations
LIKE_MIN = 3  # nodes with a like need, so that one may be lost for good


def _adapting(
    rng: random.Random, nodes: tuple[MachineSpec, ...], jobs: list[JobSpec]
) -> tuple[tuple[MachineSpec, ...], list[JobSpec]]:
    """In a quarter of the worlds in which nothing is shared or pruned the first job adapts a model: for
    the asker and others to which the same happened, at once or later on."""
    job = jobs[0]
    if rng.random() >= 0.25 or job.share != "none" or job.prune is not None:
        return nodes, jobs
    late_s = job.at_s + life_s(job, nodes)
    given = [
        msgspec.structs.replace(
            node,
            sketch=NEAR if node.name == job.asker else rng.choice((NEAR, NEAR, FAR, None)),
            need_at_s=0.0 if node.name == job.asker or rng.random() < 0.7 else rng.uniform(0.0, late_s),
            returns=rng.random() < 0.3,
            adapts=node.name == job.asker or rng.random() < 0.9,
        )
        for node in nodes
    ]
    like = sum(node.sketch == NEAR and node.adapts and not node.unwilling for node in given)
    if like < LIKE_MIN:
        return nodes, jobs
    first = msgspec.structs.replace(
        job, adapts=True, min_nodes=1, average=3, rounds=job.rounds or 15, seconds=None, target=None,
        stale=None, planned=False,
    )  # fmt: skip
    return _met(random.Random(f"{job.asker}/{job.at_s}"), tuple(given), job.at_s, late_s), [first, *jobs[1:]]


def _met(
    rng: random.Random, nodes: tuple[MachineSpec, ...], from_s: float, to_s: float
) -> tuple[MachineSpec, ...]:
    """In a quarter of these worlds all needs are met by something else while the job runs, in another quarter
    some are."""
    share = rng.choice((0.0, 0.0, 0.4, 1.0))

    def of(node: MachineSpec) -> MachineSpec:
        met = node.sketch is not None and rng.random() < share
        at_s = max(node.need_at_s, rng.uniform(from_s, to_s))
        return msgspec.structs.replace(node, met_at_s=at_s) if met else node

    return tuple(map(of, nodes))


def _later(rng: random.Random, nodes: tuple[MachineSpec, ...]) -> tuple[MachineSpec, ...]:
    """In a third of the worlds some nodes are of the next version, and others are updated when they start
    again."""
    if rng.random() >= 1 / 3:
        return nodes
    lives = (1, 1, 2, None, None)
    return tuple(msgspec.structs.replace(node, later_from=rng.choice(lives)) for node in nodes)


def _helpers(
    rng: random.Random, nodes: tuple[MachineSpec, ...], askers: list[str], jobs: list[JobSpec]
) -> tuple[MachineSpec, ...]:
    """In half of the worlds whose jobs ask for samples, but not all at once, the asker is slow and gives
    some, and up to three other nodes are fast and have no data."""
    if jobs[0].share == "none" or any(job.one_shot for job in jobs) or rng.random() < 0.5:
        return nodes
    others = [n.name for n in nodes if n.name not in askers and not n.unwilling]
    helpers = rng.sample(others, min(len(others), rng.randint(1, 3)))

    def of(node: MachineSpec) -> MachineSpec:
        if node.name == askers[0]:
            return msgspec.structs.replace(node, share="samples", step_s=4.0 * node.step_s)
        if node.name in helpers:
            return msgspec.structs.replace(node, samples=0, step_s=min(0.1, node.step_s))
        return node

    return tuple(map(of, nodes))


def _willing(nodes: tuple[MachineSpec, ...]) -> int:
    return sum(not n.unwilling for n in nodes)


SHARING_MIN = 2  # nodes beside askers: while nobody shares, such a job waits

_UP = ("dense32", "dense32", "auto", "auto", "quant8", "quant4", "topk:0.1", "stc:0.05")
_DOWN = ("dense32", "dense32", "auto", "quant8", "topk:0.2")


def _job(rng: random.Random, asker: str, at_s: float, willing: int, tiny: bool) -> JobSpec:
    by_time = rng.random() < 0.15
    return JobSpec(
        asker=asker,
        at_s=at_s,
        rounds=None if by_time else rng.randint(5, 40),
        seconds=rng.uniform(150.0, 500.0) if by_time else None,
        steps=rng.randint(20, 60) if by_time else rng.randint(4, 60),
        lr=0.05,
        patience_s=rng.choice((8.0, 15.0, 30.0)),
        min_nodes=min(rng.choice((1, 1, 2, 2, 3, 3)), max(1, willing - 1)),
        codec=rng.choice(_UP),
        down_codec=rng.choice(_DOWN),
        average=rng.choice((1, 1, 1, 3, 5)),
        server_momentum=rng.choice((0.0, 0.0, 0.5)),
        target=rng.uniform(0.6, 0.95) if tiny and not by_time and rng.random() < 0.4 else None,
    )


def _judged(rng: random.Random, job: JobSpec) -> JobSpec:
    """Some jobs are judged by their loss, and some end when they got no better for some rounds."""
    by_loss, stale = rng.random() < 0.2, rng.randint(2, 8) if rng.random() < 0.2 else None
    target = rng.uniform(0.2, 1.0) if by_loss and job.target is not None else job.target
    return msgspec.structs.replace(job, by_loss=by_loss, stale=stale, target=target)


def _pruned(rng: random.Random, task: TaskSpec, job: JobSpec) -> tuple[TaskSpec, JobSpec]:
    """A quarter of the first jobs become smaller while they go on, at once or over some rounds."""
    if rng.random() >= 0.25:
        return task, job
    most = 12 if job.rounds is None else job.rounds - 1
    first = rng.randint(1, min(12, most))
    last = min(most, first + rng.choice((0, 0, 3)))
    prune = Prune(rng.choice((0.25, 0.5, 0.75)), first, last)
    return msgspec.structs.replace(task, per_channel=4), msgspec.structs.replace(job, prune=prune)


def _second(
    rng: random.Random, asker: str, first: JobSpec, nodes: tuple[MachineSpec, ...], heal_s: float
) -> JobSpec:
    """A short job while the first one runs or after it, half of the times from one of its commits."""
    at_s = min(first.at_s + 20.0 + 1.2 * rng.random() * life_s(first, nodes), 0.8 * heal_s)
    drawn = _job(rng, asker, at_s, _willing(nodes), False)
    return msgspec.structs.replace(
        drawn, rounds=rng.randint(3, 10), seconds=None, back=rng.random() if rng.random() < 0.5 else None
    )

"""What goes wrong in a random hour, and when: values drawn from a seed, nothing here runs anything."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from muster.simulation import faults as f
from muster.simulation.specs import (
    Bury,
    CrashTrainer,
    JobSpec,
    KillAtWrite,
    LoseDisk,
    MachineSpec,
    StopJob,
    WorldFault,
    WorldSpec,
)

EPISODES_MIN, EPISODES_MAX = 4, 16  # an hour
IN_JOB_SHARE = 0.67


class TimedFault(msgspec.Struct, frozen=True):
    at_s: float
    fault: WorldFault
    routine: bool = False  # belongs to the topology (a mule's meetings): not counted as a fault


def life_s(job: JobSpec, nodes: tuple[MachineSpec, ...]) -> float:
    """About how long a job takes when nothing goes wrong."""
    steps_s = sorted(n.step_s for n in nodes if not n.unwilling)
    return job.seconds or (job.rounds or 0) * (job.steps * steps_s[len(steps_s) // 2] + 3.0)


def mule(rng: random.Random, pairs: list[tuple[str, str]], heal_s: float) -> list[TimedFault]:
    """The hub meets one of the others at a time."""
    events: list[TimedFault] = []
    at_s, turn = 5.0, 0
    period_s = rng.uniform(30.0, 120.0)
    while at_s < heal_s:
        a, b = pairs[turn % len(pairs)]
        events += [TimedFault(at_s, f.Cut(a, "*"), True), TimedFault(at_s, f.Heal(a, b), True)]
        at_s, turn = at_s + period_s, turn + 1
    return events


def moment(rng: random.Random, spec: WorldSpec, heal_s: float) -> float:
    """When a fault happens: mostly while a job should be running."""
    at_s = rng.uniform(10.0, heal_s - 10.0)
    if rng.random() < IN_JOB_SHARE:
        job = rng.choice(spec.jobs)
        at_s = min(job.at_s + 5.0 + 1.2 * rng.random() * life_s(job, spec.nodes), at_s + heal_s / 2)
        at_s = min(at_s, heal_s - 10.0)
    return at_s


def episodes(
    rng: random.Random,
    names: list[str],
    pairs: list[tuple[str, str]],
    spec: WorldSpec,
    heal_s: float,
    hours: float,
) -> list[TimedFault]:
    """Faults, most of which end again after a while; most begin while a job should be running."""
    events: list[TimedFault] = []
    buried: set[str] = set()
    count = round(rng.randint(EPISODES_MIN, EPISODES_MAX) * max(1.0, hours))
    kinds = rng.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()], k=count)
    for kind in kinds:
        at_s = moment(rng, spec, heal_s)
        if kind == "bury":
            who = spec.jobs[0].asker if rng.random() < 0.5 else rng.choice(names)
            if who not in buried and may_bury(spec, pairs, buried | {who}):
                buried.add(who)
                events.append(TimedFault(at_s, Bury(who)))
            continue
        end_s = min(at_s + rng.choice((5.0, 20.0, 60.0, 200.0, 800.0)) * (0.5 + rng.random()), heal_s - 1.0)
        for when_s, fault in _KINDS[kind][1](rng, names, pairs):
            events.append(TimedFault(at_s if when_s == 0 else end_s, fault))
    return events


Begun = list[tuple[int, WorldFault]]  # 0: when the episode begins, 1: when it ends


def _cut(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    a, b = rng.choice(pairs)
    both = rng.random() < 0.7
    return [(0, f.Cut(a, b, both)), (1, f.Heal(a, b))]


def _partition(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    mixed = rng.sample(names, len(names))
    cuts = sorted(rng.sample(range(1, len(names)), rng.choice((1, 1, 2))))
    groups = [tuple(mixed[i:j]) for i, j in zip([0, *cuts], [*cuts, len(mixed)], strict=True)]
    return [(0, f.Partition(tuple(groups))), (1, f.Heal())]


def _kill(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    who = rng.choice(names)
    return [(0, f.Kill(who)), (1, f.Restart(who, 0.0))]


def _restart(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    return [(0, f.Restart(rng.choice(names), rng.choice((0.1, 3.0, 30.0))))]


def _kill_at_write(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    return [(0, KillAtWrite(rng.choice(names), rng.randint(1, 40), rng.choice((0.5, 20.0, 60.0))))]


def _lose_disk(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    return [(0, LoseDisk(rng.choice(names), rng.choice((1.0, 60.0))))]


def _fill(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    who = rng.choice(names)
    return [(0, f.FillDisk(who, 0)), (1, f.FillDisk(who, None))]


def _skew(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    return [(0, f.SkewClock(rng.choice(names), rng.uniform(-1e8, 1e8)))]


def _slow(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    a, b = rng.choice(pairs)
    return [
        (0, f.Slow(a, b, rate_kbit_s=rng.choice((9.6, 64.0)), delay_ms=300.0)),
        (1, f.Slow(a, b, rate_kbit_s=1000.0, delay_ms=50.0)),
    ]


def _lossy(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    a, b = rng.choice(pairs)
    return [(0, f.Lose(rng.choice((0.1, 0.3, 0.6)), a, b)), (1, f.Lose(0.0, a, b))]


def _leave(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    who = rng.choice(names)
    return [(0, f.Leave(who)), (1, f.Return(who))]


def _pause(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    who = rng.choice(names)
    return [(0, f.Pause(who)), (1, f.Resume(who))]


def _crash_trainer(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    return [(0, CrashTrainer(rng.choice(names)))]


def _stop(rng: random.Random, names: list[str], pairs: list[tuple[str, str]]) -> Begun:
    return [(0, StopJob(rng.choice(names)))]


_KINDS: dict[str, tuple[float, Callable[[random.Random, list[str], list[tuple[str, str]]], Begun]]] = {
    "cut": (3, _cut),
    "partition": (3, _partition),
    "kill": (3, _kill),
    "restart": (2, _restart),
    "kill_at_write": (3, _kill_at_write),
    "lose_disk": (1.5, _lose_disk),
    "fill": (1, _fill),
    "skew": (0.5, _skew),
    "slow": (1, _slow),
    "lossy": (1, _lossy),
    "leave": (2, _leave),
    "pause": (1.5, _pause),
    "crash_trainer": (1.5, _crash_trainer),
    "stop": (0.15, _stop),
    "bury": (0.7, lambda rng, names, pairs: []),
}


def may_bury(spec: WorldSpec, pairs: list[tuple[str, str]], dead: set[str]) -> bool:
    """Whether enough are left for the jobs, and all of them still reach each other."""
    names = [n.name for n in spec.nodes]
    left = [n for n in names if n not in dead]
    nodes = [n for n in spec.nodes if not n.unwilling and n.name not in dead]
    if spec.jobs[0].adapts:
        like = next(n.sketch for n in spec.nodes if n.name == spec.jobs[0].asker)
        nodes = [n for n in nodes if n.adapts and n.sketch == like]
    willing = len(nodes)
    if len(dead) > max(1, len(names) // 3) or willing < max(2, *(j.min_nodes for j in spec.jobs)):
        return False
    return len(far(left, pairs)) == len(left)


def far(names: list[str], pairs: list[tuple[str, str]]) -> dict[str, int]:
    """How many links each of `names` is away from the first; those out of its reach are left out."""
    found = {names[0]: 0}
    front = [names[0]]
    while front:
        reached = [
            y for x in front for pair in pairs if x in pair for y in pair if y in names and y not in found
        ]
        front = list(dict.fromkeys(reached))
        found |= {y: max(found.values()) + 1 for y in front}
    return found

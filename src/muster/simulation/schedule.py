"""A random hour from a seed: which nodes, which links, which job, and what goes wrong when.

Nothing here runs anything; a schedule is a value, so that a failing seed replays exactly.  After `heal_s`
everything that broke is whole again, except nodes that died for good.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import msgspec

from muster.simulation import faults as f
from muster.simulation.network import PathParams, Timing
from muster.simulation.world import (
    Bury,
    CrashTrainer,
    JobSpec,
    KillAtWrite,
    LinkSpec,
    LoseDisk,
    NodeSpec,
    Spec,
    StopJob,
    WorldFault,
)

HOUR_S = 3600.0
HEAL_SHARE = 0.75  # of the time; the rest is for healing
NODES_MIN, NODES_MAX = 3, 9
EPISODES_MIN, EPISODES_MAX = 4, 16  # an hour


class Event(msgspec.Struct, frozen=True):
    at_s: float
    fault: WorldFault


class Schedule(msgspec.Struct, frozen=True):
    seed: int
    shape: str
    spec: Spec
    events: tuple[Event, ...]
    heal_s: float


def draw(seed: int, hours: float = 1.0) -> Schedule:
    """The schedule of a seed."""
    rng = random.Random(f"schedule/{seed}")
    names = [f"n{i}" for i in range(rng.randint(NODES_MIN, NODES_MAX))]
    shape, pairs = _topology(rng, names)
    heal_s = hours * HOUR_S * HEAL_SHARE
    asker = rng.choice(names)
    nodes = tuple(_node(rng, name, name == asker, heal_s) for name in names)
    links = tuple(LinkSpec(a, b, _link(rng)) for a, b in pairs)
    job = _job(rng, asker, len(names))
    spec = Spec(seed, nodes, links, job, Timing(lease_s=rng.choice((10.0, 15.0, 30.0))))
    events = _mule(rng, pairs, heal_s) if shape == "mule" else []
    events += _episodes(rng, names, pairs, asker, heal_s, hours)
    events.sort(key=lambda e: e.at_s)
    return Schedule(seed, shape, spec, tuple(events), heal_s)


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


def _node(rng: random.Random, name: str, asks: bool, heal_s: float) -> NodeSpec:
    joins = not asks and rng.random() < 0.2
    tight = rng.random() < 0.25
    return NodeSpec(
        name,
        samples=rng.randint(20, 500),
        step_s=rng.choice((0.05, 0.2, 0.5, 1.0)) * (0.5 + rng.random()),
        starts_s=rng.uniform(30.0, 0.6 * heal_s) if joins else 3.0 * rng.random(),
        accepts=asks or rng.random() > 0.05,
        disk_limit_bytes=rng.randint(80_000, 200_000) if tight else 2_000_000_000,
    )


def _job(rng: random.Random, asker: str, nodes: int) -> JobSpec:
    by_time = rng.random() < 0.15
    return JobSpec(
        asker=asker,
        at_s=rng.uniform(4.0, 60.0),
        rounds=None if by_time else rng.randint(5, 40),
        seconds=rng.uniform(150.0, 500.0) if by_time else None,
        steps=rng.randint(20, 60) if by_time else rng.randint(4, 60),
        lr=0.05,
        patience_s=rng.choice((8.0, 15.0, 30.0)),
        min_nodes=rng.choice((1, 1, 2, 2, min(3, nodes - 1))),
        weights=rng.choice((8, 300, 1500, 4000)),
        codec=rng.choice(("dense32", "dense32", "dense32", "quant8", "topk:0.1")),
        common=rng.random() < 0.5,
    )


def _mule(rng: random.Random, pairs: list[tuple[str, str]], heal_s: float) -> list[Event]:
    """The hub meets one of the others at a time."""
    events: list[Event] = []
    at_s, turn = 5.0, 0
    period_s = rng.uniform(30.0, 120.0)
    while at_s < heal_s:
        a, b = pairs[turn % len(pairs)]
        events += [Event(at_s, f.Cut(a, "*")), Event(at_s, f.Heal(a, b))]
        at_s, turn = at_s + period_s, turn + 1
    return events


def _episodes(
    rng: random.Random,
    names: list[str],
    pairs: list[tuple[str, str]],
    asker: str,
    heal_s: float,
    hours: float,
) -> list[Event]:
    """Faults, most of which end again after a while."""
    events: list[Event] = []
    buried: set[str] = set()
    count = round(rng.randint(EPISODES_MIN, EPISODES_MAX) * max(1.0, hours))
    kinds = rng.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()], k=count)
    for kind in kinds:
        at_s = rng.uniform(10.0, heal_s - 10.0)
        if kind == "bury":
            who = asker if rng.random() < 0.5 else rng.choice(names)
            if len(buried) < max(1, len(names) // 3) and _connected(names, pairs, buried | {who}):
                buried.add(who)
                events.append(Event(at_s, Bury(who)))
            continue
        end_s = min(at_s + rng.choice((5.0, 20.0, 60.0, 200.0, 800.0)) * (0.5 + rng.random()), heal_s - 1.0)
        for when_s, fault in _KINDS[kind][1](rng, names, pairs):
            events.append(Event(at_s if when_s == 0 else end_s, fault))
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
    "lose_disk": (1, _lose_disk),
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


def _connected(names: list[str], pairs: list[tuple[str, str]], without: set[str]) -> bool:
    """Whether at least two are left and all of them still reach each other."""
    left = [n for n in names if n not in without]
    if len(left) < 2:
        return False
    seen, stack = {left[0]}, [left[0]]
    while stack:
        at = stack.pop()
        for a, b in pairs:
            for x, y in ((a, b), (b, a)):
                if x == at and y not in without and y not in seen:
                    seen.add(y)
                    stack.append(y)
    return len(seen) == len(left)

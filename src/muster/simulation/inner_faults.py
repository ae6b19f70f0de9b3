"""Faults inside a node that goes on: drawn beside the others by a generator of their own, so that a schedule
without them (`version` 1) is the same as before they were there."""

from __future__ import annotations

import random
from collections.abc import Callable

from muster.simulation import faults as f
from muster.simulation.episodes import TimedFault, moment
from muster.simulation.specs import (
    BitRot,
    ChangeAddress,
    Clone,
    Flood,
    Misfire,
    Poison,
    Revoke,
    Stall,
    WorldFault,
    WorldSpec,
)

VERSION = 8  # of what is drawn; a new kind raises it
INNER_MAX = 4  # an hour


def inner_faults(
    seed: int, names: list[str], spec: WorldSpec, heal_s: float, hours: float, version: int = VERSION
) -> list[TimedFault]:
    """A few faults of the kinds that `version` knows; most while a job should be running."""
    rng = random.Random(f"inner/{seed}")
    kinds = [(weight, make) for since, weight, make in _KINDS.values() if since <= version]
    if not kinds:
        return []
    found = []
    for _ in range(round(rng.randint(0, INNER_MAX) * max(1.0, hours))):
        (_, make) = rng.choices(kinds, [weight for weight, _ in kinds])[0]
        found.append(TimedFault(moment(rng, spec, heal_s), make(rng, rng.choice(names))))
    return found


CLONES_SHARE = 0.25  # of the worlds


def clones(
    seed: int, names: list[str], spec: WorldSpec, heal_s: float, version: int = VERSION
) -> list[TimedFault]:
    """At most one: another process with a node's key, heard of anywhere."""
    rng = random.Random(f"clone/{seed}")
    if version < 8 or rng.random() >= CLONES_SHARE:
        return []
    who, at = rng.sample(names, 2)
    return [TimedFault(moment(rng, spec, heal_s), Clone(who, at))]


REVOKES_SHARE = 0.3  # of the worlds in which a node can be missed


def revocations(
    seed: int,
    names: list[str],
    spec: WorldSpec,
    pairs: list[tuple[str, str]],
    dispensable: set[str],
    heal_s: float,
    version: int = VERSION,
) -> list[TimedFault]:
    """At most one: mostly in a partition, with the owner in one part and the revoked node in the other.

    `dispensable`: nodes without which the world goes on as well."""
    rng = random.Random(f"revoke/{seed}")
    if version < 7 or rng.random() >= REVOKES_SHARE or not dispensable:
        return []
    who = rng.choice(sorted(dispensable))
    by = rng.choice([name for name in names if name != who])
    at_s = moment(rng, spec, heal_s)
    events = [TimedFault(at_s, Revoke(who, by, rng.random() < 0.5))]
    if rng.random() < 0.7:
        rest = [name for name in rng.sample(names, len(names)) if name not in (who, by)]
        cut = rng.randint(0, len(rest))
        groups = ((who, *rest[:cut]), (by, *rest[cut:]))
        begins_s = max(1.0, at_s - rng.uniform(0.0, 60.0))
        ends_s = min(at_s + rng.choice((5.0, 60.0, 300.0)), heal_s - 1.0)
        events = [TimedFault(begins_s, f.Partition(groups)), *events, TimedFault(ends_s, f.Heal())]
    return events


def _stall(rng: random.Random, name: str) -> WorldFault:
    return Stall(name, rng.choice((1.0, 6.0, 20.0, 60.0)) * (0.5 + rng.random()))


def _misfire(rng: random.Random, name: str) -> WorldFault:
    return Misfire(name, rng.randint(1, 30))


_KINDS: dict[str, tuple[int, float, Callable[[random.Random, str], WorldFault]]] = {
    "stall": (2, 2, _stall),
    "misfire": (2, 2, _misfire),
    "poison": (4, 2, lambda rng, name: Poison(name, rng.randrange(10_000))),
    "flood": (4, 1, lambda rng, name: Flood(name, rng.choice((5, 20, 40)))),
    "flood_of_records": (5, 0.7, lambda rng, name: Flood(name, rng.choice((20, 120)), records=True)),
    "change_address": (6, 2, lambda rng, name: ChangeAddress(name)),
    "bit_rot": (3, 1.5, lambda rng, name: BitRot(name, rng.choice((1.0, 20.0)))),
}

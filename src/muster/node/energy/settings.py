"""The energy part of a node's configuration: what it may say, what is wrong with it, what it comes to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal

import msgspec

from muster.node.energy.presets import MACHINES, RADIOS, Radio

TAIL_MIN_S = 0.01


class EnergyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this machine draws (docs/energy.md). Without this section its own meters are read, where it has
    any."""

    meter: Literal["auto", "rapl", "battery", "none"] = (
        "auto"  # auto: these watts, else RAPL, else the battery
    )
    preset: str | None = None  # a machine whose watts are known
    idle_w: float | None = None  # while it does not train; goes before the preset
    train_w: float | None = None  # while it trains, the idle watts included; goes before the preset
    radio: str | None = None  # joules of a radio that is known by name
    sent_j_byte: float | None = (
        None  # joules of a byte that is sent; goes before the radio, as the next three
    )
    received_j_byte: float | None = None  # joules of a byte received
    exchange_j: float | None = None  # joules of the tail: until the radio sleeps again after its last byte
    tail_s: float | None = None  # seconds of that tail
    capacity_j: float | None = None  # of a full battery without a gauge; the node begins with it full


LIMITS: tuple[tuple[str, float, float], ...] = (
    ("idle_w", 0, 1e6),
    ("train_w", 0, 1e6),
    ("sent_j_byte", 0, 1e6),
    ("received_j_byte", 0, 1e6),
    ("exchange_j", 0, 1e6),
    ("tail_s", TAIL_MIN_S, 3600),
    ("capacity_j", 1, 1e12),
)
_RADIO = ("sent_j_byte", "received_j_byte", "exchange_j", "tail_s")


def wrong_key(config: EnergyConfig) -> tuple[str, str] | None:
    """The key that is wrong and a sentence about it; None when all is well."""
    for key, known in (("preset", MACHINES), ("radio", RADIOS)):
        name = getattr(config, key)
        if name is not None and name not in known:
            return key, _unknown(key, name, known)
    for key, low, high in LIMITS:
        value = getattr(config, key)
        if value is not None and not low <= value <= high:
            return key, f"{value:g} is not within {low:g} to {high:g}"
    return _contradiction(config)


def _contradiction(config: EnergyConfig) -> tuple[str, str] | None:
    given = next((key for key in ("preset", "idle_w", "train_w") if getattr(config, key) is not None), None)
    found = watts(config, 1)
    if given is not None and config.meter != "auto":
        return "meter", f'with meter = "{config.meter}" no watts are needed: leave out {given}, or the meter'
    if given is not None and found is None:
        said = f"there is {given} alone: give idle_w and train_w, or a preset ({', '.join(MACHINES)})"
        return given, said
    if found is not None and found[1] < found[0]:
        said = f"{found[1]:g} W are less than the {found[0]:g} W of an idle machine, which they include"
        return ("train_w" if config.train_w is not None else "idle_w"), said
    if config.capacity_j is not None and found is None:
        return "capacity_j", "nothing says what drains this battery: give idle_w and train_w, or a preset"
    return None


def _unknown(key: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"there is no {key} {name!r}; {hint}there are {', '.join(known)}"


def watts(config: EnergyConfig, threads: int) -> tuple[float, float] | None:
    """Watts (idle, training with so many threads) by the configuration; None where it does not give both."""
    machine = MACHINES.get(config.preset or "")
    idle_w, train_w = config.idle_w, config.train_w
    if machine is not None:
        idle_w = machine.idle_w if idle_w is None else idle_w
        train_w = machine.train_w(threads) if train_w is None else train_w
    return None if idle_w is None or train_w is None else (idle_w, train_w)


def radio(config: EnergyConfig) -> Radio:
    """The radio by the configuration; without one a byte costs nothing."""
    known = RADIOS.get(config.radio or "", Radio())
    own = {key: value for key in _RADIO if (value := getattr(config, key)) is not None}
    return Radio(**{key: getattr(known, key) for key in _RADIO} | own, source=known.source)

"""Chooses a node's meter by its configuration and by what the machine has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from muster.node.energy import battery, rapl, settings
from muster.node.energy.account import EnergyAccount
from muster.node.energy.battery import Gauge
from muster.node.energy.meters import Meter, PowerModel
from muster.node.energy.settings import EnergyConfig


@dataclass(frozen=True)
class Chosen:
    """What a node knows of its energy."""

    account: EnergyAccount
    level: Callable[[], float | None]  # of the battery, 0..1
    gauge: Gauge | None  # to be refreshed beside the loop


def choose(
    config: EnergyConfig,
    threads: int,
    *,
    now: Callable[[], float],
    traffic: Callable[[], tuple[int, int]],
    powercap: Path = rapl.POWERCAP,
    power_supply: Path = battery.POWER_SUPPLY,
) -> Chosen:
    """Meters, battery and radio as `config` wants them; `threads` are those of the trainer."""
    if config.meter == "none":
        return Chosen(EnergyAccount(said="no energy is counted: node.toml says so"), lambda: None, None)
    found = settings.watts(config, threads)
    gauge = None if config.capacity_j is not None else Gauge(power_supply, now)
    if found is not None:
        meter: Meter | None = PowerModel(*found)
        said = _model(config, *found)
    else:
        meter, said = _measured(config, powercap, gauge)
    radio = settings.radio(config)
    # a battery's gauge sees the radio: its joules are there to plan by and are not counted twice
    counted = not isinstance(meter, Gauge)
    if meter is not None and config.radio is not None:
        said += f"; {config.radio} by the model" + ("" if counted else ", which the gauge sees already")
    account = EnergyAccount(meter, radio, now=now, traffic=traffic if counted else lambda: (0, 0), said=said)
    capacity_j = config.capacity_j
    if capacity_j is not None:
        return Chosen(account, lambda: max(0.0, 1 - account.used_j() / capacity_j), None)
    assert gauge is not None
    return Chosen(account, gauge.level, gauge)


def _model(config: EnergyConfig, idle_w: float, train_w: float) -> str:
    by = f"the preset {config.preset}" if config.preset else "node.toml"
    return f"energy is counted by the watts of {by}: {idle_w:g} W idle, {train_w:g} W training"


def _measured(config: EnergyConfig, powercap: Path, gauge: Gauge | None) -> tuple[Meter | None, str]:
    lacking = []
    if config.meter in ("auto", "rapl"):
        counters, why = rapl.find(powercap)
        if counters is not None:
            return counters, f"energy is measured by {counters.name}"
        lacking.append(why)
    if config.meter in ("auto", "battery"):
        if gauge is not None and gauge.name:
            return gauge, f"energy is measured by {gauge.name} while it feeds the machine"
        lacking.append("there is no battery with a gauge")
    return None, f"no energy is counted: {', '.join(lacking)}, and node.toml gives no watts"

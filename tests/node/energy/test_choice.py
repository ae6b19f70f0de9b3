"""Which meter a node uses, by its configuration and by what the machine has."""

from __future__ import annotations

import pytest
from fake_sys import FakeSys

from muster.node.energy.choice import Chosen, choose
from muster.node.energy.presets import MACHINES, RADIOS
from muster.node.energy.settings import EnergyConfig, wrong_key
from muster.protocol.parts import Power


class Machine:
    def __init__(self, tree: FakeSys) -> None:
        self.tree, self.now_s, self.moved = tree, 0.0, (0, 0)

    def chosen(self, threads: int = 1, **config: object) -> Chosen:
        given = EnergyConfig(**config)  # type: ignore[arg-type]
        assert wrong_key(given) is None
        return choose(
            given, threads, now=lambda: self.now_s, traffic=lambda: self.moved,
            powercap=self.tree.powercap, power_supply=self.tree.power_supply,
        )  # fmt: skip


@pytest.fixture
def machine(sys_tree: FakeSys) -> Machine:
    return Machine(sys_tree)


def test_the_watts_of_the_configuration_go_before_a_counter(machine: Machine) -> None:
    machine.tree.zone("intel-rapl:0", "package-0", 0)
    account = machine.chosen(preset="pi4", radio="wifi").account
    assert account.said == (
        "energy is counted by the watts of the preset pi4: 2.7 W idle, 3.625 W training; wifi by the model"
    )
    assert account.power() == Power(2.7, 3.625, 3e-6, 3e-6, 0.05)


def test_a_key_goes_before_its_preset_and_threads_keep_cores_busy(machine: Machine) -> None:
    assert machine.chosen(threads=4, preset="pi4", idle_w=0.1).account.power() == Power(0.1, 6.4)
    assert machine.chosen(threads=64, preset="pi4", radio="lte", tail_s=4).account.power() == Power(
        2.7, 6.4, 5e-6, 5e-6, 6.0
    )


def test_a_counter_goes_before_the_battery(machine: Machine) -> None:
    machine.tree.battery(status="Discharging", capacity=70, power_now=6_000_000)
    counter = machine.tree.zone("intel-rapl:0", "package-0", 0)
    chosen = machine.chosen()
    assert chosen.account.said == "energy is measured by RAPL (package-0)"
    counter.write_text("3000000")
    machine.now_s += 1
    assert (chosen.account.used_j(), chosen.level()) == (3.0, 0.7)


def test_a_battery_is_the_meter_of_a_machine_without_counters_and_sees_its_radio(machine: Machine) -> None:
    machine.tree.battery(status="Discharging", capacity=70, power_now=6_000_000)
    account = machine.chosen(radio="lora").account
    assert account.said == (
        "energy is measured by the battery's gauge (BAT0) while it feeds the machine; "
        "lora by the model, which the gauge sees already"
    )
    machine.moved, machine.now_s = (10_000, 0), 2.0
    assert account.used_j() == 12.0


def test_nothing_known_is_said(machine: Machine) -> None:
    chosen = machine.chosen(radio="wifi")
    assert chosen.account.said == (
        "no energy is counted: this machine has no RAPL, there is no battery with a gauge, "
        "and node.toml gives no watts"
    )
    machine.moved, machine.now_s = (10_000, 0), 2.0
    assert (chosen.account.used_j(), chosen.account.power(), chosen.level()) == (0.0, None, None)


def test_a_meter_that_is_asked_for_by_name_has_no_stand_in(machine: Machine) -> None:
    machine.tree.battery(status="Discharging", power_now=6_000_000)
    assert "no RAPL" in machine.chosen(meter="rapl").account.said
    machine.tree.zone("intel-rapl:0", "package-0", 0)
    assert "gauge (BAT0)" in machine.chosen(meter="battery").account.said
    off = machine.chosen(meter="none")
    assert (off.account.measures, off.gauge, off.level()) == (False, None, None)


def test_a_modelled_battery_drains_by_watts_and_radio_and_is_empty_in_the_end(machine: Machine) -> None:
    chosen = machine.chosen(idle_w=1, train_w=3, sent_j_byte=0.01, capacity_j=100)
    assert chosen.level() == 1.0
    machine.now_s, machine.moved = 10.0, (1000, 0)
    assert chosen.level() == pytest.approx(0.8)
    with chosen.account.computing():
        machine.now_s += 20
    assert chosen.level() == pytest.approx(0.2)
    machine.now_s += 60
    assert chosen.level() == 0.0


def test_every_preset_is_possible_and_says_where_it_is_from(machine: Machine) -> None:
    for name, known in MACHINES.items():
        power = machine.chosen(preset=name).account.power()
        assert power is not None
        assert 0 < power.idle_w < power.train_w
        assert known.source
    for name, radio in RADIOS.items():
        machine.chosen(preset="pi4", radio=name)
        assert radio.source

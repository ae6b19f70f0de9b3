"""RAPL and battery gauges, read from a made-up /sys."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_sys import FakeSys

from muster.node.energy import rapl
from muster.node.energy.battery import Gauge


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def found(sys_tree: FakeSys) -> rapl.Rapl:
    meter, why = rapl.find(sys_tree.powercap)
    assert meter is not None, why
    return meter


def test_packages_and_their_memory_are_added_up_and_parts_of_a_package_are_not(sys_tree: FakeSys) -> None:
    counters = [
        sys_tree.zone("intel-rapl:0", "package-0", 5_000_000),
        sys_tree.zone("intel-rapl:0:0", "core", 1_000_000),
        sys_tree.zone("intel-rapl:0:1", "dram", 2_000_000),
        sys_tree.zone("intel-rapl:1", "package-1", 0),
        sys_tree.zone("intel-rapl-mmio:0", "package-0", 5_000_000),
    ]
    meter = found(sys_tree)
    assert meter.name == "RAPL (package-0, package-0 dram, package-1)"
    for counter, more_uj in zip(counters, (3_000_000, 2_000_000, 500_000, 250_000, 3_000_000), strict=True):
        counter.write_text(str(int(counter.read_text()) + more_uj))
    assert meter.used_j(1.0, True) == pytest.approx(3.75)
    assert meter.used_j(1.0, True) == 0.0


def test_a_counter_of_the_whole_machine_goes_before_its_parts(sys_tree: FakeSys) -> None:
    sys_tree.zone("intel-rapl:0", "package-0", 0)
    whole = sys_tree.zone("intel-rapl:1", "psys", 0)
    meter = found(sys_tree)
    whole.write_text("9000000")
    assert (meter.name, meter.used_j(1.0, False)) == ("RAPL (psys)", 9.0)


def test_a_counter_that_wraps_goes_on_and_one_that_was_reset_says_nothing(sys_tree: FakeSys) -> None:
    counter = sys_tree.zone("intel-rapl:0", "package-0", 262_143_000_000, 262_143_328_850)
    meter = found(sys_tree)
    counter.write_text("1_000_000".replace("_", ""))
    assert meter.used_j(1.0, False) == pytest.approx(1.32885)
    counter.write_text("0")  # a wrap would be 262 kJ in a second
    assert meter.used_j(1.0, False) is None
    counter.write_text("4000000")
    assert meter.used_j(1.0, False) == 4.0


def test_a_counter_that_vanishes_says_nothing_until_it_was_read_twice(sys_tree: FakeSys) -> None:
    counter = sys_tree.zone("intel-rapl:0", "package-0", 0)
    meter = found(sys_tree)
    counter.unlink()
    assert meter.used_j(1.0, False) is None
    counter.write_text("7000000")
    assert meter.used_j(1.0, False) is None
    counter.write_text("8000000")
    assert meter.used_j(1.0, False) == 1.0


def test_a_refusal_is_no_meter_and_says_what_to_do(
    sys_tree: FakeSys, monkeypatch: pytest.MonkeyPatch
) -> None:
    sys_tree.zone("intel-rapl:0", "package-0", 0)
    read = Path.read_text

    def refuse(path: Path, *given: Any, **more: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(path, *given, **more)

    monkeypatch.setattr(Path, "read_text", refuse)
    meter, why = rapl.find(sys_tree.powercap)
    assert meter is None
    assert why.endswith(
        "intel-rapl:0/energy_uj may be read by root only (docs/energy.md says how to allow it)"
    )


def test_a_machine_without_counters_has_no_rapl(sys_tree: FakeSys, tmp_path: Path) -> None:
    assert rapl.find(tmp_path / "nothing") == (None, "this machine has no RAPL")
    sys_tree.zone("intel-rapl:0", "uncore", 0)
    meter, why = rapl.find(sys_tree.powercap)
    assert meter is None
    assert "neither the machine nor a package" in why


def test_a_gauge_gives_the_watts_of_all_batteries_that_feed_the_machine(sys_tree: FakeSys) -> None:
    clock = Clock()
    sys_tree.battery(status="Discharging", capacity=40, power_now=6_000_000)
    sys_tree.battery("BAT1", status="Discharging", current_now=-500_000, voltage_now=12_000_000)
    sys_tree.battery("hidpp_battery_0", status="Discharging", scope="Device", capacity=5, power_now=10**9)
    sys_tree.battery("AC", type="Mains")
    gauge = Gauge(sys_tree.power_supply, clock)
    assert gauge.name == "the battery's gauge (BAT0, BAT1)"
    assert gauge.level() == 0.4
    assert gauge.used_j(2.0, True) == pytest.approx(2 * (6 + 6))


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown"])
def test_while_the_mains_feed_the_machine_nothing_is_known(sys_tree: FakeSys, status: str) -> None:
    sys_tree.battery(status="Discharging", capacity=99, power_now=6_000_000)
    gauge = Gauge(sys_tree.power_supply, Clock())
    assert gauge.used_j(1.0, False) == 6.0
    sys_tree.battery(status=status, power_now=30_000_000)
    gauge.refresh()
    assert gauge.used_j(1.0, False) is None
    assert gauge.level() == 0.99


def test_a_battery_that_vanishes_is_gone_and_may_come_back(sys_tree: FakeSys) -> None:
    supply = sys_tree.battery(status="Discharging", capacity=50, power_now=6_000_000)
    gauge = Gauge(sys_tree.power_supply, Clock())
    shutil.rmtree(supply)
    gauge.refresh()
    assert (gauge.level(), gauge.used_j(1.0, False)) == (None, None)
    sys_tree.battery(status="Discharging", capacity=80, power_now=5_000_000)
    gauge.refresh()
    assert (gauge.level(), gauge.used_j(1.0, False)) == (0.8, 5.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"energy_now": 50_000_000}, {"energy_now": 49_990_000}),
        ({"charge_now": 5_000_000, "voltage_now": 10_000_000}, {"charge_now": 4_999_000}),
    ],
)
def test_a_gauge_without_watts_is_read_by_how_fast_what_is_left_falls(
    sys_tree: FakeSys, before: dict[str, int], after: dict[str, int]
) -> None:
    clock = Clock()
    sys_tree.battery(status="Discharging", **before)
    gauge = Gauge(sys_tree.power_supply, clock)
    assert gauge.used_j(1.0, False) is None
    clock.now_s += 6
    gauge.refresh()  # no step yet
    assert gauge.used_j(1.0, False) is None
    clock.now_s += 6
    sys_tree.battery(**after)
    gauge.refresh()
    assert gauge.used_j(1.0, False) == pytest.approx(36 / 12)  # 10 mWh
    clock.now_s += 6
    gauge.refresh()
    assert gauge.used_j(1.0, False) == pytest.approx(36 / 12)


def test_an_old_reading_says_nothing(sys_tree: FakeSys) -> None:
    clock = Clock()
    sys_tree.battery(status="Discharging", power_now=6_000_000)
    gauge = Gauge(sys_tree.power_supply, clock)
    clock.now_s += 61
    assert gauge.used_j(1.0, False) is None


def test_rubbish_in_a_file_is_as_no_file(sys_tree: FakeSys) -> None:
    sys_tree.battery(status="Discharging", power_now="nothing", capacity="")
    gauge = Gauge(sys_tree.power_supply, Clock())
    assert (gauge.level(), gauge.used_j(1.0, False)) == (None, None)

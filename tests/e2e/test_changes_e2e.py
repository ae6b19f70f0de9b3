"""Networks that come late and change under real daemons: a counted update follows, without anybody's help."""

from __future__ import annotations

from pathlib import Path

import pytest

import changes
from patience import patient_s
from real_networks import RealNetworks, refusal, seconds_until
from run_cases import measure

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]

LEASE_S = 15.0  # after which a link over a cable that was cut without a word is known to be dead
COUNTED_S = 60.0  # on a busy machine; bench/network/changes.py measures it


@pytest.fixture(autouse=True)
def allowed() -> None:
    if (why := refusal()) is not None:
        pytest.skip(why)


@pytest.mark.parametrize("case", changes.CASES)
def test_after_a_change_of_network_updates_are_counted_again(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LIMIT_S", patient_s(2 * COUNTED_S))
    for row in measure(changes.CASES[case]):
        print(row)
        assert row.linked_s < patient_s(LEASE_S + 10.0), row
        assert row.counted_s < patient_s(LEASE_S + COUNTED_S), row


def test_a_listen_address_that_is_missing_is_waited_for_and_said(tmp_path: Path) -> None:
    with RealNetworks(tmp_path) as nets:
        nets.node("a")
        nets.start("a", {"listen": ["10.9.0.1:7447"]})
        seconds_until(
            lambda: "waits for address 10.9.0.1 to listen on" in nets.said("a"), patient_s(10), "said"
        )
        nets.cable("a", "wg0", "vpn")
        nets.up("a", "wg0", "10.9.0.1")
        seconds_until(lambda: "listens on 10.9.0.1:7447" in nets.said("a"), patient_s(20), "it listens")
        assert "this machine has the address 10.9.0.1" in nets.said("a")
        assert nets.said("a").count("waits for address") == 1


def test_two_nodes_on_a_machine_without_a_network_find_each_other(tmp_path: Path) -> None:
    with RealNetworks(tmp_path) as nets:
        nets.node("a")
        a, b = (nets.start(name, {}, on="a") for name in "ab")
        seconds_until(lambda: changes.linked(a, b), patient_s(20), "a link")


def test_loopback_that_comes_late_is_no_harm_and_links_adapt_their_timings(tmp_path: Path) -> None:
    """The engine is told over loopback whom to dial."""
    with RealNetworks(tmp_path) as nets:
        for number, node in enumerate("ab", 1):
            nets.node(node)
            nets.ip(node, "link", "set", "lo", "down")
            nets.cable(node, "eth0", "lan")
            nets.up(node, "eth0", f"10.0.0.{number}")
        a, b = (nets.start(node, {}) for node in "ab")
        for node in "ab":
            nets.ip(node, "link", "set", "lo", "up")
        seconds_until(lambda: changes.linked(a, b), patient_s(20), "a link")
        loops = {loop.name for loop in a.snapshot().node.loops}
        assert {"adapting the links' timings", "looking at the interfaces", "discovery"} <= loops

"""Names, firewalls, clocks and sleep under real daemons: a counted update follows, or the sentence."""

from __future__ import annotations

import shutil

import pytest

import changes
import faults
from patience import patient_s
from real_networks import refusal
from run_cases import measure

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]

LEASE_S = 15.0  # after which a link whose other end is gone is known to be dead
COUNTED_S = 60.0  # on a busy machine; bench/network/faults.py measures it
SAID_S = 45.0
NEEDS = {
    "udp_rejected": "iptables",
    "both_behind_nat": "iptables",
    "clock_1970": "faketime",
    "clock_2101": "faketime",
}
SAYS = {
    "mtu_600": ["passes no packets of 1,200 bytes (its MTU is 600): Muster needs an MTU of 1,280"],
    "udp_rejected": ["UDP to 192.0.2.1:7447 is rejected: allow UDP port 7447", "this machine's own firewall"],
    "both_behind_nat": ["so neither node can be reached from outside: add a member that both reach"],
    "clock_1970": ["the clock of b says 1970-01-01", "the clock of this machine says 1970-01-01"],
    "clock_2101": ["2101-06-01)", "(2101-06-01, "],
}


@pytest.mark.parametrize("case", faults.CASES)
def test_a_fault_of_the_network_is_got_over_or_said(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if (why := refusal()) is not None:
        pytest.skip(why)
    if case in NEEDS and shutil.which(NEEDS[case]) is None:
        pytest.skip(f"no {NEEDS[case]} on this machine: apt-get install {NEEDS[case]} (as .ci/run does)")
    for module in (changes, faults):
        monkeypatch.setattr(module, "LIMIT_S", patient_s(2 * COUNTED_S))
    monkeypatch.setattr(faults, "SUSPENDED_S", 30.0)
    said = []
    for row in measure(faults.CASES[case]):
        print(row)
        if row.counted_s is not None:
            assert row.counted_s < patient_s(LEASE_S + COUNTED_S), row
        if row.said_s is not None:
            said.append(row.sentence)
            assert row.said_s < patient_s(SAID_S), row
    assert len(said) == len(SAYS.get(case, []))
    for sentence, expected in zip(said, SAYS.get(case, []), strict=True):
        assert expected in sentence

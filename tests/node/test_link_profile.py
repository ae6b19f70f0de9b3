from __future__ import annotations

import asyncio

import pytest

from muster.network.supervisor import Pulse
from muster.network.transport.zenoh.config import LAN, NARROW, LinkProfile
from muster.node.link_profile import ALONE_S, LOOK_S, adapt, at_start, choose
from muster.protocol.ids import NodeId
from muster.simulation.virtual.event_loop import run


@pytest.mark.parametrize(
    ("configured", "remembered", "wanted"),
    [
        ("auto", None, LAN),
        ("auto", b"narrow", NARROW),
        ("auto", b"lan", LAN),
        ("auto", b"\xff?", LAN),
        ("lan", b"narrow", LAN),
        ("narrow", None, NARROW),
    ],
)
def test_the_first_session_is_as_configured_or_as_measured_before(
    configured: str, remembered: bytes | None, wanted: object
) -> None:
    assert at_start(configured, remembered) is wanted


def test_the_slowest_link_decides() -> None:
    assert choose(LAN, [1200.0, 1e6], None).profile is NARROW
    assert choose(LAN, [7900.0], None).profile is NARROW
    assert choose(NARROW, [8100.0], None).profile is NARROW  # not to and fro about 64 kbit/s
    assert choose(NARROW, [12100.0], None).profile is LAN
    assert not choose(LAN, [1200.0], None).renew  # a session is not thrown away for it
    assert choose(NARROW, [], None).profile is NARROW


def test_who_reaches_nobody_becomes_patient_once() -> None:
    assert not choose(LAN, [], ALONE_S - 1).renew
    first = choose(LAN, [], ALONE_S)
    assert (first.profile, first.renew) == (NARROW, True)
    assert not choose(first.profile, [], ALONE_S + 5).renew


class FakeLink:
    """A link whose one neighbour is there from `met_s` on."""

    def __init__(self, met_s: float) -> None:
        self.profile, self.met_s = LAN, met_s
        self.renewed: list[float] = []

    def neighbours(self) -> list[NodeId]:
        return [NodeId(b"b" * 32)] if asyncio.get_running_loop().time() >= self.met_s else []

    def adopt(self, profile: LinkProfile) -> None:
        self.profile = profile

    async def renew(self) -> None:
        self.renewed.append(asyncio.get_running_loop().time())


def adapted(link: FakeLink, rates: dict[float, float], until_s: float) -> list[tuple[float, str]]:
    """What was chosen when. `rates`: bytes/s of the neighbour, from a time on."""
    chosen: list[tuple[float, str]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def rate(node: NodeId) -> float | None:
            return max(((at, r) for at, r in rates.items() if at <= loop.time()), default=(0.0, None))[1]

        looks = adapt(Pulse(), link, rate, lambda profile: chosen.append((loop.time(), profile.name)))
        task = loop.create_task(looks)
        await asyncio.sleep(until_s)
        task.cancel()

    run(main())
    return chosen


def test_the_timings_follow_what_is_measured_while_the_node_runs() -> None:
    link = FakeLink(met_s=1.0)
    chosen = adapted(link, {50.0: 1200.0, 500.0: 1e6}, 600.0)
    assert [name for _, name in chosen] == ["narrow", "lan"]
    assert chosen[0][0] <= 50.0 + LOOK_S
    assert chosen[1][0] <= 500.0 + LOOK_S
    assert link.renewed == []  # links that are up are not thrown away for it


def test_who_meets_nobody_opens_again_with_patient_timings_and_adapts_later() -> None:
    link = FakeLink(met_s=300.0)
    chosen = adapted(link, {310.0: 1e6}, 400.0)
    assert [name for _, name in chosen] == ["narrow", "lan"]
    assert link.renewed == [chosen[0][0]]
    assert ALONE_S <= chosen[0][0] <= ALONE_S + LOOK_S

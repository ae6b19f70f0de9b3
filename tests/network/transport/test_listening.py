"""Where a node listens when not all of its addresses are there, and which ports it keeps."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from zenoh_pair import opened, pair, quiet, until

from muster.network.transport.endpoints import Endpoint
from muster.network.transport.lan.interfaces import Changes, Interface
from muster.network.transport.zenoh.config import LAN
from muster.network.transport.zenoh.listening import ListeningPlaces
from muster.network.trust.identity import Identity

NOT_HERE = "198.51.100.7"  # TEST-NET-2: no machine has it


def test_addresses_that_are_missing_are_left_out() -> None:
    wanted = [
        Endpoint("127.0.0.1", 7002),
        Endpoint("localhost", 7003),
        Endpoint(NOT_HERE, 7001),
        Endpoint("nobody.invalid", 7003),
        Endpoint("fe80::1%none0", 7004),
    ]
    listening = ListeningPlaces(wanted).now()
    assert listening.here == wanted[:2]
    assert listening.missing == wanted[2:]
    assert ListeningPlaces(wanted).now(look_up=False).here == wanted[:1]


def test_chosen_ports_stay_once_they_were_used() -> None:
    for wanted in ([], [Endpoint("127.0.0.1", 0)]):
        places = ListeningPlaces(wanted)
        first = places.now().here
        assert first[0].port
        assert places.now().here == first
        assert places.choose_others()  # taken by another program in the last moment
        places.opened()
        kept = places.now().here
        assert not places.choose_others()
        assert places.now().here == kept


def test_a_port_that_was_asked_for_is_not_another() -> None:
    places = ListeningPlaces([Endpoint("127.0.0.1", 7009)])
    assert places.now().here == [Endpoint("127.0.0.1", 7009)]
    assert not places.choose_others()


@pytest.mark.e2e
def test_a_node_whose_address_is_missing_starts_and_dials(members: dict[str, Identity]) -> None:
    said: list[str] = []

    async def main() -> None:
        async with opened(alpha := quiet(members["alpha"], ["127.0.0.1:0"], [])):
            bravo = quiet(members["bravo"], [f"{NOT_HERE}:7447"], alpha.listening(), on_change=said.append)
            async with opened(bravo):
                await until(lambda: alpha.neighbours() and bravo.neighbours())
                assert bravo.listening() == []

    asyncio.run(main())
    assert said == [f"waits for address {NOT_HERE} to listen on"]


@pytest.mark.e2e
def test_when_an_address_went_only_a_link_that_is_dead_costs_a_new_session(
    members: dict[str, Identity],
) -> None:
    gone = (Interface("wlan0", 9, True, True, ("198.51.100.8",)),)

    async def main() -> None:
        async with pair(members) as (alpha, bravo):
            await until(lambda: alpha._session.dialler.ready)
            # As if an address had gone that nothing went by.
            await alpha._networks._settle(Changes(frozenset(), frozenset({"198.51.100.8"})))
            assert alpha.renewed == 0

            async def deaf(node: bytes, payload: bytes) -> bytes:
                await asyncio.sleep(3600)
                return b""

            bravo.serve("p", deaf)
            alpha.adopt(replace(LAN, answer_s=0.2))
            alpha._networks.changed(gone, ())
            await until(lambda: alpha.renewed == 1)
            await until(lambda: alpha.neighbours() and bravo.neighbours())

    asyncio.run(main())

"""A session that is open is told whom to dial."""

from __future__ import annotations

import asyncio

from zenoh_pair import e2e, opened, quiet, until

from muster.network.transport.endpoints import endpoint
from muster.network.transport.zenoh.dialling import LANES, hello
from muster.network.trust.identity import Identity


@e2e
async def test_an_open_session_dials_whom_it_is_told(members: dict[str, Identity]) -> None:
    alpha, bravo = (quiet(members[name], ["127.0.0.1:0"], []) for name in ("alpha", "bravo"))
    async with opened(alpha, bravo):
        await until(lambda: bravo._session.dialler.ready)
        session, [place] = alpha.place()[0], alpha.listening()
        bravo.dial(b"\x99" * 8, endpoint(place))  # another session is there: no link
        for port in range(9, 9 + LANES - 1):  # nobody is there, and an attempt takes its time
            bravo.dial(bytes([0x88] * 7 + [port]), endpoint(f"127.0.0.1:{port}"))
        bravo.dial(session, endpoint(place))
        await until(lambda: alpha.neighbours() and bravo.neighbours())
        assert set(bravo.neighbours()) == {alpha.node}
        await asyncio.sleep(0.2)
        assert len(list(bravo._session.links())) == 1


@e2e
async def test_a_renewed_session_takes_orders_too(members: dict[str, Identity]) -> None:
    alpha, bravo = (quiet(members[name], ["127.0.0.1:0"], []) for name in ("alpha", "bravo"))
    async with opened(alpha, bravo):
        await bravo.renew()
        await until(lambda: bravo._session.dialler.ready)
        bravo.dial(alpha.place()[0], endpoint(alpha.listening()[0]))
        await until(lambda: alpha.neighbours() and bravo.neighbours())


def test_the_order_is_what_the_engine_reads() -> None:
    """Byte by byte as in zenoh-codec/src/scouting/hello.rs (1.10.2)."""
    said = hello("0102030405060708", "quic/[::1]:7")
    assert said[:3] == bytes([0x22, 9, 0x71])  # Hello with locators, protocol 9, a peer whose id has 8 bytes
    assert said[3:11] == bytes.fromhex("0807060504030201")
    assert said[11:] == bytes([1, 12]) + b"quic/[::1]:7"

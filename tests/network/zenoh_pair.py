"""Two ends of the real engine on loopback: real sockets, real certificates, no emulated trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from muster.network.transport.zenoh.link import ZenohLink
from muster.network.trust.identity import Identity
from muster.protocol.ids import NodeId
from patience import patient_s

SECONDS_MAX = patient_s(15.0)  # for anything that happens on loopback; usually some milliseconds


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not holds():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def opened(*links: ZenohLink) -> AsyncIterator[None]:
    try:
        for link in links:
            await link.start()
        yield
    finally:
        for link in links:
            await link.close()


def quiet(identity: Identity, listen: list[str], connect: list[str], **more: Any) -> ZenohLink:
    return ZenohLink(identity, listen, connect, discovery=False, **more)


@asynccontextmanager
async def pair(members: dict[str, Identity]) -> AsyncIterator[tuple[ZenohLink, ZenohLink]]:
    """alpha listens, bravo connects to it; each sees the other."""
    alpha = quiet(members["alpha"], ["127.0.0.1:0"], [])
    async with opened(alpha):
        bravo = quiet(members["bravo"], ["127.0.0.1:0"], alpha.listening())
        async with opened(bravo):
            await until(lambda: alpha.neighbours() and bravo.neighbours())
            yield alpha, bravo


def e2e(test: Callable[[dict[str, Identity]], Awaitable[None]]) -> Callable[[dict[str, Identity]], None]:
    @pytest.mark.e2e
    def run(members: dict[str, Identity]) -> None:
        asyncio.run(test(members))  # type: ignore[arg-type]

    return run


async def echo(node: NodeId, payload: bytes) -> bytes:
    return node[:4] + payload

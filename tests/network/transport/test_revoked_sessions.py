"""A raw session of the engine with a revoked bundle and another node's tag: what passes, either way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import zenoh
from zenoh_pair import SECONDS_MAX, e2e, echo, opened, quiet, until

from muster.network.transport.endpoints import endpoint
from muster.network.transport.link import REVOKED_TOPIC
from muster.network.transport.zenoh.config import LAN, free_endpoint, session_config
from muster.network.transport.zenoh.link import ZenohLink
from muster.network.transport.zenoh.messages import encode_message
from muster.network.trust.identity import Identity
from muster.protocol.ids import NodeId


class Thief:
    """Hears all that the engine gives it, and asks and tells in another's name."""

    def __init__(self, session: Any) -> None:
        self.session, self.heard = session, []  # type: ignore[var-annotated]
        remote = zenoh.Locality.REMOTE
        session.declare_subscriber(
            "**", lambda sample: self.heard.append(sample.payload.to_bytes()), allowed_origin=remote
        )
        session.declare_queryable(
            "**", lambda query: self.heard.append(query.payload.to_bytes()), allowed_origin=remote
        )
        session.liveliness().declare_subscriber(
            "**", lambda sample: self.heard.append(str(sample.key_expr).encode()), history=True
        )

    async def ask(self, of: ZenohLink, tag: str, within_s: float = 2.0) -> list[bytes]:
        """The answers to a question in the name of whoever has this tag."""
        message = encode_message(tag, "echo", b"what have you?")

        def get() -> list[bytes]:
            replies = self.session.get(of._session.tag, payload=message, timeout=within_s)
            return [reply.ok.payload.to_bytes() for reply in replies if reply.ok is not None]

        return await asyncio.to_thread(get)

    def tell(self, whom: ZenohLink, tag: str) -> None:
        self.session.put(whom._session.tag, encode_message(tag, "word", b"believe me"))

    def linked(self, *links: ZenohLink) -> bool:
        there = {str(link.zid)[:8] for link in self.session.info.links()}
        return {link._session.tag for link in links} <= there


@asynccontextmanager
async def thief(identity: Identity, *others: ZenohLink) -> AsyncIterator[Thief]:
    points = [endpoint(text) for link in others for text in link.listening()]
    config = session_config(
        identity,
        [free_endpoint("127.0.0.1")],
        points,
        session_id="c" * 16,
        scouting={"scouting/multicast/enabled": False},
        profile=LAN,
    )
    session: Any = await asyncio.to_thread(zenoh.open, config)
    try:
        yield Thief(session)
    finally:
        with contextlib.suppress(zenoh.ZError):
            await asyncio.to_thread(session.close)


@e2e
async def test_a_revoked_bundle_reads_and_writes_nothing(members: dict[str, Identity]) -> None:
    alpha = quiet(members["alpha"], ["127.0.0.1:0"], [])
    words: list[bytes] = []
    alpha.serve("echo", echo)
    alpha.listen("word", lambda node, payload: words.append(payload))
    async with opened(alpha):
        bravo = quiet(members["bravo"], ["127.0.0.1:0"], alpha.listening())
        bravo.listen("word", lambda node, payload: words.append(payload))
        async with opened(bravo), thief(members["carol"], alpha, bravo) as carol:
            await until(lambda: alpha.neighbours() and bravo.neighbours() and carol.linked(alpha, bravo))
            # A member could, until it is revoked.
            assert await carol.ask(alpha, bravo._session.tag, SECONDS_MAX)
            alpha.nudge(bravo.node, "word", b"a secret")
            await until(lambda: any(b"a secret" in heard for heard in carol.heard))

            old_tags = alpha._session.tag, bravo._session.tag
            for link in (alpha, bravo):
                link.forbid(members["carol"].node, "carol", b"you are out")
            await until(lambda: alpha._session.tag != old_tags[0] and bravo._session.tag != old_tags[1])
            await until(lambda: alpha.neighbours() and bravo.neighbours() and carol.linked(alpha, bravo))
            carol.heard.clear()  # what was in its queues
            words.clear()
            for tag in (bravo._session.tag, old_tags[1]):
                assert not await carol.ask(alpha, tag)
                carol.tell(alpha, tag)
            alpha.nudge(bravo.node, "word", b"a secret")
            await until(lambda: words)
            assert words == [b"a secret"]
            assert await bravo.ask(alpha.node, "echo", b"", timeout_s=SECONDS_MAX) == bravo.node[:4]
            assert set(carol.heard) <= {b"you are out"}


@e2e
async def test_a_revoked_node_is_told_so(members: dict[str, Identity]) -> None:
    alpha = quiet(members["alpha"], ["127.0.0.1:0"], [])
    told: list[tuple[NodeId, bytes]] = []
    async with opened(alpha):
        alpha.forbid(members["bravo"].node, "bravo", b"you are out")
        bravo = quiet(members["bravo"], ["127.0.0.1:0"], alpha.listening())
        bravo.listen(REVOKED_TOPIC, lambda node, payload: told.append((node, payload)))
        async with opened(bravo):
            await until(lambda: told)
            assert told == [(b"", b"you are out")]
            assert not alpha.neighbours()
            assert not bravo.neighbours()


@e2e
async def test_several_revocations_take_one_new_session(members: dict[str, Identity]) -> None:
    alpha = quiet(members["alpha"], ["127.0.0.1:0"], [])
    async with opened(alpha):
        generation, tag = alpha._session._generation, alpha._session.tag
        for number in range(5):
            alpha.forbid(bytes((number,)) * 32, f"node-{number}", b"you are out")
        await until(lambda: alpha._session.tag != tag and alpha._session.zenoh is not None)
        await asyncio.sleep(0.2)
        assert not alpha._session.lets_barred_pass()
        assert alpha._session._generation - generation <= 3  # deaf, closed, opened

"""What this node sends to its neighbours: requests that are answered, and nudges that may be lost.

Sends may block for up to 5 s on a full link and therefore run in a thread for each neighbour and urgency
(`threads.SenderThread`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import zenoh

from muster.network.transport.activity import PeerActivity
from muster.network.transport.link import Refused, Unreachable, Urgency
from muster.network.transport.zenoh.messages import NUDGE_BYTES_MAX, encode_message
from muster.network.transport.zenoh.peers import PeerSessions
from muster.network.transport.zenoh.session import ZenohSession
from muster.protocol.ids import NodeId, short

ASKS_MAX = 256  # waiting for one neighbour's answers

_PRIORITY = {Urgency.CONTROL: zenoh.Priority.REAL_TIME, Urgency.BULK: zenoh.Priority.BACKGROUND}


class ZenohSending:
    """Sends by the present session of a link."""

    def __init__(self, session: ZenohSession, peers: PeerSessions, activity: PeerActivity) -> None:
        self._session, self._peers, self._activity = session, peers, activity

    async def ask(
        self, node: NodeId, topic: str, payload: bytes, *, timeout_s: float, urgency: Urgency
    ) -> bytes:
        """Raises Unreachable or Refused."""
        peer, session = self._peers.get(node), self._session.zenoh
        if peer is None or session is None:
            raise Unreachable(f"{short(node)} is no neighbour now")
        if len(peer.waiting) >= ASKS_MAX:
            raise Refused(f"{ASKS_MAX} requests wait for {peer.name} already")
        loop = asyncio.get_running_loop()
        message = encode_message(self._session.tag, topic, payload)
        future: asyncio.Future[bytes] = loop.create_future()
        post = self._session.poster()

        def answered(data: bytes | None) -> None:
            if not future.done():
                if data:
                    future.set_result(data)
                else:
                    # It does not know us, perhaps: ping it.
                    self._activity.left_unanswered(node, loop.time())
                    future.set_exception(Unreachable(f"{peer.name} gave no answer"))
                    future.exception()

        def on_reply(reply: Any) -> None:
            sample = reply.ok
            if sample is not None:
                post(answered, sample.payload.to_bytes(), None)

        def send() -> None:
            if future.done():
                return
            try:
                session.get(
                    peer.tag,
                    zenoh.handlers.Callback(on_reply, lambda: post(answered, None, None), indirect=False),
                    # Deliver each reply as it comes; the query itself may end much later.
                    consolidation=zenoh.ConsolidationMode.NONE,
                    timeout=timeout_s + 1,
                    congestion_control=zenoh.CongestionControl.BLOCK,
                    priority=_PRIORITY[urgency],
                    payload=message,
                    allowed_destination=zenoh.Locality.REMOTE,
                )
            except zenoh.ZError:
                post(answered, None, None)

        peer.waiting.add(future)
        try:
            if not peer.senders[urgency].put(send):
                raise Refused(f"the queue to {peer.name} is full")
            self._activity.add_sent(node, len(payload))
            async with asyncio.timeout(timeout_s):
                data = await future
        except TimeoutError as error:
            self._activity.left_unanswered(node, loop.time())
            raise Unreachable(f"{peer.name} did not answer within {timeout_s:g} s") from error
        finally:
            peer.waiting.discard(future)
            future.cancel()
        self._activity.add_received(node, len(data) - 1, loop.time())
        if data[0]:
            raise Refused(data[1:].decode(errors="replace"))
        return data[1:]

    def nudge(self, node: NodeId, topic: str, payload: bytes, tag: str = "") -> None:
        """To one who is no neighbour now it is lost. `tag`: of another session of it than the present."""
        peer, session = self._peers.get(node), self._session.zenoh
        if peer is None or session is None or len(payload) > NUDGE_BYTES_MAX:
            return
        message, to = encode_message(self._session.tag, topic, payload), tag or peer.tag

        def send() -> None:
            with contextlib.suppress(zenoh.ZError):  # a nudge may be lost
                session.put(
                    to,
                    message,
                    congestion_control=zenoh.CongestionControl.DROP,
                    priority=zenoh.Priority.REAL_TIME,
                    allowed_destination=zenoh.Locality.REMOTE,
                )

        if peer.senders[Urgency.CONTROL].put(send):
            self._activity.add_sent(node, len(payload))

"""What arrives at this node's Zenoh session, on the loop: requests are answered, nudges passed on.

A request whose sender's token is still on the move is kept waiting for it for a little while.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import zenoh

from muster.network.transport.activity import PeerActivity, UnknownSessions
from muster.network.transport.link import Handler, Listener, Refused, Urgency
from muster.network.transport.zenoh.messages import (
    BUSY,
    check_topic,
    decode_message,
    encode_payload_answer,
    encode_refusal,
)
from muster.network.transport.zenoh.peers import PeerSessions
from muster.protocol.ids import NodeId

SMALL_ANSWER_BYTES = 1500  # fits into one batch; a larger one goes through the sender for bulk
SERVED_MAX = 64  # requests of one neighbour that are being answered
HANDLER_S_MAX = 120.0


class ZenohServer:
    """Serves topics to neighbours; `close` ends the answers that are being made."""

    def __init__(self, peers: PeerSessions, activity: PeerActivity, unknown: UnknownSessions) -> None:
        self._peers, self._activity, self._unknown = peers, activity, unknown
        self._handlers: dict[str, Handler] = {}
        self._listeners: dict[str, Listener] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, topic: str, handler: Handler) -> None:
        self._handlers[check_topic(topic)] = handler

    def listen(self, topic: str, listener: Listener) -> None:
        self._listeners[check_topic(topic)] = listener

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def on_nudge(self, sample: Any) -> None:
        message = decode_message(sample.payload.to_bytes())
        if message is None:
            return
        tag, topic, payload = message
        peer = self._peers.by_tag(tag)
        if peer is None:
            self._note_unknown(tag)
            return
        self._activity.add_received(peer.node, len(payload), _loop_time_s())
        self.tell(topic, peer.node, payload)

    def tell(self, topic: str, node: NodeId, payload: bytes) -> None:
        listener = self._listeners.get(topic)
        if listener is not None:
            listener(node, payload)

    def on_query(self, query: Any) -> None:
        payload = query.payload
        message = decode_message(payload.to_bytes()) if payload is not None else None
        if message is None:
            query.drop()
            return
        task = asyncio.get_running_loop().create_task(self._answer(query, *message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, query: Any, tag: str, topic: str, payload: bytes) -> None:
        peer = self._peers.by_tag(tag) or await self._peers.wait_for_token(tag)
        if peer is None:
            self._note_unknown(tag)
            query.drop()
            return
        self._activity.add_received(peer.node, len(payload), _loop_time_s())
        answer, urgency = BUSY, Urgency.CONTROL
        if peer.serving < SERVED_MAX:
            peer.serving += 1
            try:
                answer = await self._handle(peer.node, topic, payload)
            finally:
                peer.serving -= 1
        if len(answer) > SMALL_ANSWER_BYTES:
            urgency = Urgency.BULK
        self._activity.add_sent(peer.node, len(answer) - 1)

        def send() -> None:
            with contextlib.suppress(zenoh.ZError):  # the asker may be gone
                query.reply(query.key_expr, answer)  # priority and congestion control: the query's
            query.drop()

        if not peer.senders[urgency].put(send):
            query.drop()

    async def _handle(self, node: NodeId, topic: str, payload: bytes) -> bytes:
        """The answer as it goes over the link."""
        handler = self._handlers.get(topic)
        if handler is None:
            return encode_refusal(f"this node serves no {topic}")
        try:
            async with asyncio.timeout(HANDLER_S_MAX):
                answer = await handler(node, payload)
        except Refused as refusal:
            return encode_refusal(str(refusal))
        except TimeoutError:
            return encode_refusal("this took too long")
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"serving {topic!r} failed", "exception": error}
            )
            return encode_refusal("this node failed to answer")
        return encode_payload_answer(answer)

    def _note_unknown(self, tag: str) -> None:
        if not self._peers.rejected(tag) and not self._peers.checking(tag):
            self._unknown.heard(tag, _loop_time_s())


def _loop_time_s() -> float:
    return asyncio.get_running_loop().time()

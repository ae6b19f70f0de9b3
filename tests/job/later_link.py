"""A simulated link of a node of a later version: its messages have fields that others do not know."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from muster.network.blobs.chunk_messages import Ask
from muster.network.sync.messages import CRC_BYTES, Announce, Changes, Since, pack_announce
from muster.network.transport.link import Handler, Refused, Unreachable, Urgency
from muster.protocol.ids import NodeId
from muster.simulation.virtual.link import SimLink
from muster.simulation.virtual.network import SimNetwork
from muster.storage.store import Store

ASKED = {"c": Since, "chunk": Ask}  # by topic, what is asked
NEW = [True, "of a later version", [1, 2.5]]  # at the end of each message
NEW_TOPIC = "later"


class LaterLink(SimLink):
    """Puts `NEW` at the end of all that has room for it, and uses a topic that others do not know."""

    def __init__(self, network: SimNetwork, node: NodeId, name: str, store: Store) -> None:
        super().__init__(network, node, name)
        self._store = store
        self.grown: Counter[str] = Counter()  # messages, by topic
        self.refusals: Counter[str] = Counter()  # of what was asked under the new topic

    async def ask(
        self,
        node: NodeId,
        topic: str,
        payload: bytes,
        *,
        timeout_s: float,
        urgency: Urgency = Urgency.CONTROL,
    ) -> bytes:
        if topic == "c":
            self.nudge(node, NEW_TOPIC, b"what nobody knows")
            try:
                await super().ask(node, NEW_TOPIC, b"?", timeout_s=timeout_s)
            except (Refused, Unreachable) as refusal:
                self.refusals[str(refusal)] += 1
        if topic in ASKED:
            payload = self._grown(topic, payload, ASKED[topic])
        return await super().ask(node, topic, payload, timeout_s=timeout_s, urgency=urgency)

    def serve(self, topic: str, handler: Handler) -> None:
        async def answer(node: NodeId, payload: bytes) -> bytes:
            return self._grown("answers", await handler(node, payload), Changes)

        super().serve(topic, answer if topic == "c" else handler)

    def nudge(self, node: NodeId, topic: str, payload: bytes) -> None:
        if topic == "n":
            body = self._grown(topic, payload[CRC_BYTES:], Announce)
            payload = pack_announce(msgspec.Raw(body), self._store.incarnation)  # type: ignore[arg-type]
        super().nudge(node, topic, payload)

    def _grown(self, topic: str, payload: bytes, of: Any) -> bytes:
        raw = msgspec.msgpack.decode(payload)
        if len(raw) != len(of.__struct_fields__):  # a short question for a chunk: it has no room
            return payload
        self.grown[topic] += 1
        return msgspec.msgpack.encode([*raw, *NEW])

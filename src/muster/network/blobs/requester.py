"""Asking a neighbour for a chunk over the link, and counting what the request costs."""

from __future__ import annotations

from muster.network.blobs.chunk_messages import TOPIC, ChunkAnswer, decode_answer
from muster.network.transport.link import Link, Refused, Unreachable, Urgency
from muster.network.transport.offences import Offences
from muster.network.transport.traffic_counters import TrafficCounters
from muster.protocol.ids import NodeId


class ChunkRequester:
    """Turns a lost, refused or unreadable answer into None."""

    def __init__(self, link: Link, traffic: TrafficCounters, offences: Offences) -> None:
        self._link, self._traffic, self._offences = link, traffic, offences

    async def ask(
        self, node: NodeId, message: bytes, *, timeout_s: float, urgency: Urgency = Urgency.BULK
    ) -> ChunkAnswer | None:
        """The neighbour's answer; None when none came, or one that cannot be read."""
        self._traffic.add_exchange(node, len(message))
        try:
            answer = await self._link.ask(node, TOPIC, message, timeout_s=timeout_s, urgency=urgency)
        except (Unreachable, Refused):
            return None
        try:
            return decode_answer(answer)
        except ValueError as error:
            self._offences.add(node, str(error))
            return None

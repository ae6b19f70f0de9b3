"""What a node does when another process uses its key: the one that started later goes on, this one stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from muster.network.supervisor import Pulse, Supervisor
from muster.network.sync.heartbeat import Heartbeat
from muster.network.sync.presence import Presence
from muster.network.transport.link import Link
from muster.node.event_log import EventLog

CLONED_HERE = (
    "another process uses this node's bundle and started later, so this one acts no more and has left the "
    "network: give each a bundle of its own ('muster fleet issue NAME') and start this node again; if nobody "
    "copied it, it was stolen: have it revoked ('muster fleet revoke NAME')"
)


TOPIC = "twin"
TELL_S = 10.0  # how often both hear of each other
INSIST_S = 3.0  # between two times that a node says that it goes on above a former life of its own


class Twins:
    """`look` is called at every change of presence, `run` kept as a loop."""

    def __init__(
        self,
        presence: Presence,
        link: Link,
        supervisor: Supervisor,
        log: EventLog,
        end_jobs: Callable[[], None],
        publish: Callable[[], None],
    ) -> None:
        """`end_jobs()` ends what this node does in jobs now, `publish()` sends its heartbeat."""
        self._presence, self._link, self._supervisor, self._log = presence, link, supervisor, log
        self._end_jobs, self._publish, self._said, self._insisting = end_jobs, publish, False, False
        link.listen(TOPIC, lambda node, payload: self._on_twin(payload))

    async def run(self, pulse: Pulse) -> None:
        """Tell neighbours of which there are two, each of its sessions, which of them goes on."""
        while True:
            pulse.renew(TELL_S)
            await asyncio.sleep(TELL_S)
            for node in self._link.twins():
                heard = self._presence.table.get(node[:8])
                if heard is not None:
                    self._link.tell_twins(node, TOPIC, msgspec.msgpack.encode(heard.heartbeat))

    def _on_twin(self, payload: bytes) -> None:
        with contextlib.suppress(msgspec.MsgspecError):
            self._presence.meet_twin(msgspec.msgpack.decode(payload, type=Heartbeat))

    async def _insist(self) -> None:
        """Few heartbeats go while no job runs: a twin that lives would hear of this one after minutes."""
        presence = self._presence
        try:
            while presence.incarnation.insist and not presence.cloned:
                before = presence.said()
                self._publish()
                await asyncio.sleep(INSIST_S)
                while presence.said() == before:  # narrow links take it at their own pace
                    await asyncio.sleep(INSIST_S)
                if not presence.cloned:
                    presence.say_again()
            if not presence.cloned:
                self._publish()
        finally:
            self._insisting = False

    def look(self) -> None:
        if self._presence.incarnation.insist and not (self._insisting or self._presence.cloned):
            self._insisting = True
            self._supervisor.once("going on above a former life", self._insist())
        if self._presence.cloned and not self._said:
            self._said = True
            self._log.add("error", CLONED_HERE)
            self._end_jobs()
            self._supervisor.once("leaving the network", self._link.close())

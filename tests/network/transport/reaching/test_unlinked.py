"""Configured endpoints without a link: found by resolved addresses, said once for each reason."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from muster.network.supervisor import Pulse
from muster.network.transport.endpoints import Endpoint, endpoint
from muster.network.transport.reaching.unlinked import UnlinkedEndpoints
from muster.network.transport.reaching.why import Facts, Udp
from muster.simulation.virtual.event_loop import run

UNLINKED_S = 20.0
GATE, PLAIN = endpoint("gate.local:7447"), endpoint("192.0.2.10:7447")


@dataclass
class Network:
    """What links there are, and what the probes would see; tests change it."""

    hosts: set[str] = field(default_factory=set)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    udp: Udp = "silent"
    looks: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    async def links(self) -> dict[Endpoint, str]:
        return {Endpoint(host, 40000): "session" for host in self.hosts}

    async def facts(self, point: Endpoint) -> Facts:
        self.looks.append(asyncio.get_running_loop().time())
        await asyncio.sleep(2.0)
        return Facts(point, address="192.0.2.10", udp=self.udp)

    async def addresses(self, point: Endpoint) -> tuple[str, ...]:
        return self.names.get(point.host, ())

    def watching(self, *points: Endpoint) -> UnlinkedEndpoints:
        return UnlinkedEndpoints(
            points,
            self.links,
            self.said.append,
            after_s=UNLINKED_S,
            facts=self.facts,
            addresses=self.addresses,
        )


def test_a_link_to_one_of_a_names_addresses_is_a_link_to_the_name() -> None:
    async def main() -> None:
        network = Network({"::ffff:10.0.0.9", "FD00::0:5"}, {"gate.local": ("10.0.0.7", "10.0.0.9")})
        watch = network.watching(GATE, PLAIN, endpoint("[fd00::5]:7447"))
        assert await watch.unlinked() == [PLAIN]
        network.names["gate.local"] = ("10.0.0.7",)
        assert await watch.unlinked() == [GATE, PLAIN]
        network.hosts.add("gate.local")  # as the engine dialled it
        assert await watch.unlinked() == [PLAIN]

    run(main())


def test_a_reason_is_said_once_and_again_when_it_is_another_one() -> None:
    async def main() -> None:
        network = Network()
        watch = network.watching(PLAIN)
        running = asyncio.ensure_future(watch.run(Pulse()))
        await asyncio.sleep(UNLINKED_S - 1)
        assert not network.looks, "a node may still be starting"
        await asyncio.sleep(1000.0)
        assert network.said == [
            "no link to 192.0.2.10:7447: nobody answers at 192.0.2.10:7447: the node there is off or out of "
            "reach; it is tried again all the time"
        ]
        pauses = [after - before for before, after in zip(network.looks, network.looks[1:], strict=False)]
        assert pauses == sorted(pauses)
        assert len(network.looks) < 8, "the longer it lasts, the less often it is looked at"
        network.udp = "refused"
        await asyncio.sleep(400.0)
        assert len(network.said) == 2
        assert "is rejected" in network.said[1]
        assert watch.reasons()[PLAIN].kind == "rejected"
        network.hosts = {"192.0.2.10"}
        await asyncio.sleep(10.0)
        assert not watch.reasons()
        looks = len(network.looks)
        network.hosts = set()
        await asyncio.sleep(2 * UNLINKED_S)
        assert len(network.looks) == looks + 1, "a link that was lost is looked after as at first"
        assert len(network.said) == 3
        running.cancel()

    run(main())


def test_a_node_that_answers_is_given_time_for_its_handshake() -> None:
    async def main() -> None:
        network = Network(udp="answers")
        watch = network.watching(PLAIN)
        running = asyncio.ensure_future(watch.run(Pulse()))
        await asyncio.sleep(1.5 * UNLINKED_S)
        assert len(network.looks) == 1
        assert not network.said
        assert not watch.reasons()
        await asyncio.sleep(1.5 * UNLINKED_S)
        assert len(network.said) == 1
        assert "belongs to another fleet" in network.said[0]
        running.cancel()

    run(main())

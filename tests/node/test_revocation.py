"""A member that the fleet's owner puts out is no neighbour any more, wherever the revocation arrives."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from muster.job.context import Policy, TrainerLike
from muster.network.transport.link import Unreachable
from muster.network.trust.identity import FleetVerifier, Identity, init_fleet, issue, load_bundle
from muster.network.trust.signing import TrustStore
from muster.node.core import Core
from muster.node.event_log import EventLog
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.network import SimNetwork
from muster.storage.memory import MemoryStore


async def no_trainer(task: str) -> TrainerLike:
    raise AssertionError("nothing is trained here")


def node(identity: Identity, network: SimNetwork, store: MemoryStore) -> Core:
    return Core(
        name=identity.name,
        signer=identity,
        member=identity.member(),
        trust=TrustStore(FleetVerifier(identity.ca_certificate)),
        store=store,
        link=network.link(identity.node, identity.name),
        policy=Policy(),
        open_trainer=no_trainer,
        installed=lambda task: False,
        battery=lambda: None,
        log=EventLog(lambda: 0.0),
    )


def test_a_revoked_member_is_cut_off_by_all_who_learn_of_it(tmp_path: Path) -> None:
    fleet = init_fleet(tmp_path, "north")
    alpha, bravo, carol = (load_bundle(issue(tmp_path, name)) for name in ("alpha", "bravo", "carol"))

    async def main() -> None:
        network = SimNetwork(random.Random(1))
        for a, b in ((alpha, bravo), (bravo, carol), (alpha, carol)):
            network.connect(a.node, b.node)
        stores = {one: MemoryStore(random.Random(seed)) for seed, one in enumerate((alpha, bravo, carol))}
        cores = {one: node(one, network, stores[one]) for one in (alpha, bravo, carol)}
        for core in cores.values():
            await core.start()
        await asyncio.sleep(30)
        assert set(cores[alpha].link.neighbours()) == {bravo.node, carol.node}
        _, wire = fleet.revoke(carol.node, "stolen")
        cores[alpha].ledger.receive(wire, b"")
        assert set(cores[alpha].link.neighbours()) == {bravo.node}
        await asyncio.sleep(120)  # bravo learns of it as of every record
        assert set(cores[bravo].link.neighbours()) == {alpha.node}
        with pytest.raises(Unreachable):
            await cores[carol].link.ask(alpha.node, "p", b"", timeout_s=5)

        await cores[alpha].close()
        again = node(alpha, network, stores[alpha])  # what is kept counts after a start too
        await again.start()
        await asyncio.sleep(30)
        assert set(again.link.neighbours()) == {bravo.node}
        await again.close()
        await cores[bravo].close()
        await cores[carol].close()

    run(main(), until_s=3600)

"""Real daemons on loopback: a key at two places, two nodes of one name, a node that is revoked."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemons import Daemons
from muster.errors import MusterError
from muster.network.sync.incarnation import ESTABLISHED_S
from muster.network.transport.zenoh.config import free_endpoint
from muster.network.trust.identity import Fleet, init_fleet, issue, load_bundle
from muster.node.api.client import Client
from patience import patient_s

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


class Machines(Daemons):
    """Nodes that dial the first one's port; each has a fleet's bundle, which several may share."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fleet: Fleet = init_fleet(folder / "fleet", "north")
        self.port = free_endpoint("127.0.0.1").port
        self.ports: dict[str, int] = {}

    def add(self, home: str, bundle: Path, *, first: bool = False, to: str = "") -> Client:
        """`to`: the home of the node that this one dials, in place of the first one."""
        (self.folder / home).mkdir(exist_ok=True)
        self.ports[home] = listen = self.port if first else free_endpoint("127.0.0.1").port
        connect = [] if first else [f"127.0.0.1:{self.ports.get(to, self.port)}"]
        (self.folder / f"{home}.toml").write_text(
            f'name = "{load_bundle(bundle).name}"\nhome = "{self.folder / home}"\nbundle = "{bundle}"\n'
            f'listen = ["127.0.0.1:{listen}"]\nconnect = {connect}\ndiscovery = false\n'
        )
        return self.start(home)

    def bundle(self, name: str, file: str = "") -> Path:
        return issue(self.fleet.directory, name, self.folder / f"{file or name}.pem")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    made = Machines(tmp_path)
    try:
        yield made
    finally:
        made.end()


def until(holds: Callable[[], object], what: str, limit_s: float = 90.0) -> None:
    end_s = time.monotonic() + patient_s(limit_s)
    while not holds():
        assert time.monotonic() < end_s, what
        time.sleep(0.2)  # other processes are waited for


def peers(client: Client) -> list[str]:
    return [n.name for n in client.snapshot().neighbours]


def warned(client: Client, words: str) -> bool:
    return any(words in warning for warning in client.snapshot().node.warnings)


def test_a_revoked_node_hears_so_and_does_nothing_more(machines: Machines) -> None:
    alpha = machines.add("alpha", machines.bundle("alpha"), first=True)
    bravo = machines.add("bravo", machines.bundle("bravo"))
    lost = machines.bundle("carol")
    carol = machines.add("carol", lost)
    until(lambda: sorted(peers(alpha)) == ["bravo", "carol"], "they do not meet")
    until(lambda: "carol" in {p.name for p in bravo.snapshot().peers}, "bravo does not hear of carol")
    revoked = load_bundle(lost)
    _, wire = machines.fleet.revoke(revoked.node, "left in a train", "carol")
    bravo.ask("record", wire=wire.hex())  # at a node that has no link to it
    until(lambda: peers(alpha) == ["bravo"], "alpha does not part with carol")
    until(lambda: warned(carol, "revoked by the fleet's owner: left in a train"), "carol is not told")
    until(lambda: peers(bravo) == ["alpha"], "bravo does not come back")
    with pytest.raises(MusterError, match="left in a train"):
        carol.train("digits", rounds=1)
    assert [p.revoked for p in alpha.snapshot().peers if p.name == "carol"] == ["left in a train"]
    assert "was revoked by the fleet's owner: left in a train" in machines.said("carol")


def test_of_a_cloned_home_the_one_that_started_last_goes_on(machines: Machines) -> None:
    alpha = machines.add("alpha", machines.bundle("alpha"), first=True)
    bundle = machines.bundle("bravo")
    first = machines.add("bravo", bundle)
    until(lambda: peers(alpha) == ["bravo"], "they do not meet")
    time.sleep(ESTABLISHED_S + patient_s(5.0))
    home, without = machines.folder / "bravo", shutil.ignore_patterns("*.sock")
    shutil.copytree(home, machines.folder / "copy", ignore=without)
    second = machines.add("copy", bundle)
    until(lambda: warned(first, "started later"), "the first is not told", 240.0)
    until(lambda: "two processes use the bundle of bravo" in machines.said("alpha"), "alpha says nothing")
    until(lambda: peers(second) == ["alpha"], "the second does not go on")
    assert not warned(second, "started later")
    with pytest.raises(MusterError, match="started later"):
        first.train("digits", rounds=1)


def test_of_a_stolen_bundle_in_an_empty_home_the_owner_hears_on_an_idle_fleet(machines: Machines) -> None:
    """The thief has links to other nodes than the owner, who was started before."""
    alpha = machines.add("alpha", machines.bundle("alpha"), first=True)
    stolen = machines.bundle("bravo")
    machines.add("bravo", stolen)
    machines.stop("bravo")
    bravo = machines.start("bravo")
    carol = machines.add("carol", machines.bundle("carol"))
    until(lambda: sorted(peers(alpha)) == ["bravo", "carol"], "they do not meet")
    until(lambda: "bravo" in {p.name for p in carol.snapshot().peers}, "carol does not hear of bravo")
    time.sleep(ESTABLISHED_S + patient_s(5.0))
    thief = machines.add("thief", stolen, to="carol")
    until(lambda: warned(bravo, "if nobody copied it, it was stolen"), "the owner is not told", 40.0)
    until(lambda: peers(alpha) == ["carol"], "the owner's node does not leave")
    assert not warned(thief, "started later")


def test_two_nodes_of_one_name_are_told_apart(machines: Machines) -> None:
    alpha = machines.add("alpha", machines.bundle("alpha"), first=True)
    files = [machines.bundle("bravo", file) for file in ("one", "two")]
    for file in files:
        machines.add(file.stem, file)
    ids = sorted(load_bundle(file).node.hex()[:8] for file in files)
    until(lambda: len(peers(alpha)) == 2, "they do not meet")
    until(lambda: warned(alpha, f"2 nodes are called bravo ({', '.join(ids)})"), "nothing is said")
    assert sorted(p.name for p in alpha.snapshot().peers) == [f"bravo ({i})" for i in ids]
    assert "2 nodes are called bravo" in machines.said("alpha")

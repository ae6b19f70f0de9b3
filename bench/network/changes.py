"""Networks that change under two running daemons: seconds to the link, and to the next counted update.

    python bench/network/changes.py [--to FILE] [CASE ...]

As root, with `ip`: real daemons in namespaces, with cables to switches (`real_networks.py`), the task
`calm` of tests/e2e, a job that goes on all the time.  Each case is written to the file when it is done, and
a later run goes on with those that are missing.  Where a node joins only after the change, its trainer
starts then: an import of torch is in the time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from muster.node.api.client import Client
from real_networks import RealNetworks, seconds_until
from run_cases import main

LIMIT_S = 120.0
CALM = Path(__file__).resolve().parents[2] / "tests" / "e2e" / "calm.py"
TASKS = {"tasks": {"calm": {"file": str(CALM)}}}


@dataclass(frozen=True)
class Measured:
    """Seconds from the change on. `counted_s`: to a commit with an update that b made after it."""

    case: str
    linked_s: float
    counted_s: float
    load: float


def linked(*clients: Client) -> bool:
    return all(client.snapshot().neighbours for client in clients)


def counted(client: Client, job: str, name: str) -> int:
    """Updates of a node that the job counts, as this node knows it."""
    given = client.log(job).job.contributions
    return next((one.updates_counted for one in given if one.node == name), 0)


def next_counted(client: Client, job: str, name: str) -> int:
    """The count that shows an update made from now on: one may be under way, and the next is what counts."""
    was = counted(client, job, name)
    return was + (2 if was else 1)


def pair(nets: RealNetworks, net: str = "10.0.0") -> None:
    """The machines a and b on one network."""
    for number, node in enumerate("ab", 1):
        nets.node(node)
        nets.cable(node, "eth0", "lan")
        nets.up(node, "eth0", f"{net}.{number}")


def both_train(a: Client, name: str = "b") -> str:
    """A job in which that node takes part, too."""
    job = ask(a, 2)
    seconds_until(lambda: counted(a, job, name) > 1, LIMIT_S, "both train")
    return job


def ask(client: Client, min_nodes: int) -> str:
    return client.train("calm", rounds=10_000, min_nodes=min_nodes, patience_s=6.0, steps=2)


def after(case: str, change: Callable[[], None], a: Client, b: Client, job: str) -> Measured:
    """Make the change, and wait for the link and the next update of b."""
    load, wanted, began_s = os.getloadavg()[0], next_counted(a, job, "b"), time.monotonic()
    change()
    seconds_until(lambda: linked(a, b), LIMIT_S, f"{case}: a link")
    linked_s = time.monotonic() - began_s
    seconds_until(lambda: counted(a, job, "b") >= wanted, LIMIT_S, f"{case}: an update of b")
    return Measured(case, round(linked_s, 1), round(time.monotonic() - began_s, 1), round(load, 1))


def late_interface(nets: RealNetworks) -> list[Measured]:
    """b starts with its cable out."""
    for node in "ab":
        nets.node(node)
        nets.cable(node, "eth0", "lan")
    nets.up("a", "eth0", "10.0.0.1")
    a, b = (nets.start(node, TASKS) for node in "ab")
    job = ask(a, 1)
    seconds_until(lambda: counted(a, job, "a") > 0, LIMIT_S, "a trains alone")
    return [after("late interface", lambda: nets.up("b", "eth0", "10.0.0.2"), a, b, job)]


def late_interfaces(nets: RealNetworks) -> list[Measured]:
    """Both start before their network."""
    for node in "ab":
        nets.node(node)
        nets.cable(node, "eth0", "lan")
    a, b = (nets.start(node, TASKS) for node in "ab")
    job = ask(a, 1)

    def change() -> None:
        nets.up("a", "eth0", "10.0.0.1")
        nets.up("b", "eth0", "10.0.0.2")

    return [after("late interfaces of both", change, a, b, job)]


def late_vpn(nets: RealNetworks) -> list[Measured]:
    """They share no network until a tunnel comes: a listens on its address there, b dials it."""
    for number, node in enumerate("ab", 1):
        nets.node(node)
        nets.cable(node, "eth0", f"lan{number}")
        nets.up(node, "eth0", f"10.{number}.0.1")
    a = nets.start("a", TASKS | {"listen": ["10.9.0.1:7447"]})
    b = nets.start("b", TASKS | {"connect": ["10.9.0.1:7447"]})
    job = ask(a, 1)
    seconds_until(lambda: counted(a, job, "a") > 0, LIMIT_S, "a trains alone")

    def change() -> None:
        for number, node in enumerate("ab", 1):
            nets.cable(node, "wg0", "vpn")
            nets.ip(node, "link", "set", "wg0", "multicast", "off")
            nets.up(node, "wg0", f"10.9.0.{number}")

    return [after("late VPN", change, a, b, job)]


def address(nets: RealNetworks) -> list[Measured]:
    """Each side in turn gets another address: one of them dialled, the other listens."""
    pair(nets)
    a, b = (nets.start(node, TASKS) for node in "ab")
    job = both_train(a)
    changed = []
    for node, old, new in (("a", "10.0.0.1", "10.0.0.11"), ("b", "10.0.0.2", "10.0.0.12")):
        whose = "the asker" if node == "a" else "the other"
        change = partial(nets.change_address, node, "eth0", old, new)
        changed.append(after(f"changed address of {whose}", change, a, b, job))
    return changed


def dialling(nets: RealNetworks) -> list[Measured]:
    """Without multicast: b dials a, and gets another address."""
    pair(nets)
    a = nets.start("a", TASKS | {"discovery": False})
    b = nets.start("b", TASKS | {"discovery": False, "connect": ["10.0.0.1:7447"]})
    job = both_train(a)
    change = partial(nets.change_address, "b", "eth0", "10.0.0.2", "10.0.0.12")
    return [after("changed address of who dials", change, a, b, job)]


def dead_nic(nets: RealNetworks) -> list[Measured]:
    """Two networks; each dies in turn, so that the link was on one of them: by its carrier, and silently."""
    for number, node in enumerate("ab", 1):
        nets.node(node)
        for lan in (0, 1):
            nets.cable(node, f"eth{lan}", f"lan{lan}")
            nets.up(node, f"eth{lan}", f"10.{lan}.0.{number}")
    a, b = (nets.start(node, TASKS) for node in "ab")
    job = both_train(a)
    found = []
    for lan in (0, 1):
        died = partial(nets.down, "b", f"eth{lan}")
        found.append(after(f"dead NIC {lan}", died, a, b, job))
        nets.up("b", f"eth{lan}")
        time.sleep(2.0)  # beacons go over it again
    for lan in (0, 1):
        cut = partial(nets.silence, "b", f"eth{lan}")
        found.append(after(f"cut cable {lan}", cut, a, b, job))
        nets.silence("b", f"eth{lan}", heals=True, lan=f"lan{lan}")
    return found


CASES = {
    case.__name__: case for case in (late_interface, late_interfaces, late_vpn, address, dialling, dead_nic)
}


def line(row: dict[str, object]) -> str:
    return "{case:34} linked {linked_s} s, counted {counted_s} s, load {load}".format(**row)


if __name__ == "__main__":
    main(__doc__, CASES, line)

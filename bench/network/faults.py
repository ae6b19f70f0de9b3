"""Networks with a fault, under running daemons: seconds to the next counted update, or to the sentence.

    python bench/network/faults.py [--to FILE] [CASE ...]

As root, with `ip`, `iptables` and `faketime`: real daemons in namespaces (`real_networks.py`), the task
`calm` of tests/e2e.  Each case is written to the file when it is done, and a later run goes on with those
that are missing.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from changes import LIMIT_S, TASKS, ask, both_train, counted, next_counted, pair
from muster.node.api.client import Client
from real_networks import RealNetworks, seconds_until
from run_cases import main

ETC = Path("/etc/netns")  # whose files `ip netns exec` shows to a namespace as its own
QUIET = {"discovery": False}
PLAIN = TASKS | QUIET
FAKETIME = [
    Path("/usr/lib", machine, "faketime/libfaketimeMT.so.1")
    for machine in ("x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf")
]
SUSPENDED_S = 60.0
NET = "192.0.2"


@dataclass(frozen=True)
class Outcome:
    """Seconds from the fault on, or from its end. One of the two figures."""

    case: str
    counted_s: float | None = None  # to a commit with the next update of b
    said_s: float | None = None  # to the sentence
    sentence: str = ""
    load: float = 0.0


def recovered(case: str, change: Callable[[], None], a: Client, job: str, name: str = "b") -> Outcome:
    """Make the change, and wait for the next update of b."""
    load, wanted, began_s = os.getloadavg()[0], next_counted(a, job, name), time.monotonic()
    change()
    seconds_until(lambda: counted(a, job, name) >= wanted, LIMIT_S, f"{case}: an update of {name}")
    return Outcome(case, counted_s=round(time.monotonic() - began_s, 1), load=round(load, 1))


def said(case: str, client: Client, kind: str, began_s: float) -> Outcome:
    """Wait until a node says why its endpoint has no link; `kind` is the reason that is right."""

    def found() -> list[str]:
        return [one.sentence for one in client.snapshot().node.unlinked if one.kind == kind]

    seconds_until(found, LIMIT_S, f"{case}: the sentence")
    took_s = round(time.monotonic() - began_s, 1)
    return Outcome(case, said_s=took_s, sentence=found()[0], load=round(os.getloadavg()[0], 1))


# ---- names and addresses -----------------------------------------------------------------------------------


@contextmanager
def hosts(nets: RealNetworks, node: str) -> Iterator[Callable[[str], None]]:
    """A hosts file of the node's own; the function says which address gate.lab has."""
    folder = ETC / nets.space(node)
    folder.mkdir(parents=True)
    file = folder / "hosts"

    def says(address: str) -> None:
        with file.open("w") as into:  # the same file: it is mounted
            into.write(f"127.0.0.1 localhost\n{address} gate.lab\n")

    try:
        yield says
    finally:
        shutil.rmtree(folder)


def name_anew(nets: RealNetworks) -> list[Outcome]:
    """b dials a by its name; a gets another address, and the name says so."""
    pair(nets, NET)
    with hosts(nets, "b") as gate_is:
        gate_is("192.0.2.1")
        a = nets.start("a", PLAIN)
        nets.start("b", PLAIN | {"connect": ["gate.lab:7447"]})
        job = both_train(a)

        def change() -> None:
            nets.change_address("a", "eth0", "192.0.2.1", "192.0.2.11")
            gate_is("192.0.2.11")

        return [recovered("name that resolves to another address", change, a, job)]


def moved_listener(nets: RealNetworks) -> list[Outcome]:
    """a and b dial c, b dials a as well; when a has moved, b knows by c where it is."""
    pair(nets, NET)
    nets.node("c")
    nets.cable("c", "eth0", "lan")
    nets.up("c", "eth0", "192.0.2.3")
    nets.start("c", QUIET)
    a = nets.start("a", PLAIN | {"connect": ["192.0.2.3"]})
    b = nets.start("b", PLAIN | {"connect": ["192.0.2.3", "192.0.2.1"]})
    job = both_train(a)
    time.sleep(10.0)  # the endpoint's member is known, and so are all addresses
    began_s = time.monotonic()
    nets.change_address("a", "eth0", "192.0.2.1", "192.0.2.11")
    outcome = recovered("listener with another address: an update", lambda: None, a, job)

    def linked() -> bool:
        return "a" in {one.name for one in b.snapshot().neighbours if one.up_s < time.monotonic() - began_s}

    seconds_until(linked, LIMIT_S, "a link of b to a")
    found = Outcome("listener with another address: the link", counted_s=round(time.monotonic() - began_s, 1))
    return [outcome, found]


# ---- faults that are said ----------------------------------------------------------------------------------


def mtu_600(nets: RealNetworks) -> list[Outcome]:
    """QUIC cannot: it is said."""
    pair(nets, NET)
    for node in "ab":
        nets.ip(node, "link", "set", "eth0", "mtu", "600")
    nets.start("a", QUIET)
    began_s = time.monotonic()
    b = nets.start("b", QUIET | {"connect": ["192.0.2.1"]})
    return [said("MTU 600", b, "small packets", began_s)]


def mtu_1280(nets: RealNetworks) -> list[Outcome]:
    """The smallest MTU that is enough, from one moment to the next."""
    pair(nets, NET)
    a = nets.start("a", PLAIN)
    nets.start("b", PLAIN | {"connect": ["192.0.2.1"]})
    job = both_train(a)

    def change() -> None:
        for node in "ab":
            nets.ip(node, "link", "set", "eth0", "mtu", "1280")

    return [recovered("MTU 1500 to 1280", change, a, job)]


def udp_rejected(nets: RealNetworks) -> list[Outcome]:
    """The other machine's firewall, then this one's, then none: the link is back by itself."""
    pair(nets, NET)
    a = nets.start("a", PLAIN)
    nets.run("a", "iptables -A INPUT -p udp -j REJECT")
    began_s = time.monotonic()
    b = nets.start("b", PLAIN | {"connect": ["192.0.2.1"]})
    outcomes = [said("UDP rejected there", b, "rejected", began_s)]
    nets.run("b", "iptables -A OUTPUT -p udp -j DROP")
    began_s = time.monotonic()
    outcomes.append(said("UDP rejected here as well", b, "firewall here", began_s))
    job = ask(a, 2)

    def change() -> None:
        nets.run("a", "iptables -F INPUT")
        nets.run("b", "iptables -F OUTPUT")

    outcomes.append(recovered("UDP let through again", change, a, job))
    return outcomes


def both_behind_nat(nets: RealNetworks) -> list[Outcome]:
    """Each behind a router of its own, which has an address that all can reach."""
    for number, (node, router) in enumerate((("a", "ra"), ("b", "rb")), 1):
        nets.node(node)
        nets.node(router)
        nets.cable(node, "eth0", f"home{number}")
        nets.cable(router, "lan0", f"home{number}")
        nets.cable(router, "wan0", "net")
        nets.up(node, "eth0", f"192.168.{number}.7")
        nets.up(router, "lan0", f"192.168.{number}.1")
        nets.up(router, "wan0", f"192.0.2.{number}")
        nets.ip(node, "route", "add", "default", "via", f"192.168.{number}.1")
        nets.run(router, "sysctl -q net.ipv4.ip_forward=1")
        nets.run(router, "iptables -t nat -A POSTROUTING -o wan0 -j MASQUERADE")
    a = nets.start("a", PLAIN | {"connect": ["192.0.2.2"]})
    began_s = time.monotonic()
    b = nets.start("b", PLAIN | {"connect": ["192.0.2.1"]})
    outcomes = [said("both behind NAT", b, "both hidden", began_s)]
    job = ask(a, 2)

    def forward() -> None:
        nets.run("ra", "iptables -t nat -A PREROUTING -i wan0 -p udp -j DNAT --to 192.168.1.7")

    outcomes.append(recovered("UDP port forwarded to one of them", forward, a, job))
    return outcomes


# ---- clocks and sleep --------------------------------------------------------------------------------------


@contextmanager
def clock(date: str, folder: Path) -> Iterator[None]:
    """Daemons that are started meanwhile see this date; monotonic time goes as it does.

    Their trainers see the right one: faketime breaks sleeping in them.
    """
    library = next((str(path) for path in FAKETIME if path.exists()), None)
    if library is None:
        raise SystemExit("there is no faketime (package faketime)")
    (folder / "sitecustomize.py").write_text("import os\n\nos.environ.pop('LD_PRELOAD', None)\n")
    ours = {
        "LD_PRELOAD": library,
        "FAKETIME": f"@{date}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
    }
    before = {key: os.environ.get(key) for key in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def wrong_clock(nets: RealNetworks, date: str) -> list[Outcome]:
    """a's clock is right, b's is not: they train, and both say which clock is wrong."""
    pair(nets, NET)
    a = nets.start("a", PLAIN)
    job = ask(a, 1)
    began_s = time.monotonic()

    def change() -> None:
        with clock(date, nets.folder):
            nets.start("b", PLAIN | {"connect": ["192.0.2.1"]})

    outcomes = [recovered(f"clock at {date[:4]}", change, a, job)]
    for node in "ab":
        seconds_until(lambda node=node: "the clock of " in nets.said(node), LIMIT_S, "a sentence on clocks")
        line = next(line for line in nets.said(node).splitlines() if "the clock of " in line)
        took_s = round(time.monotonic() - began_s, 1)
        outcomes.append(Outcome(f"clock at {date[:4]}: {node} says", said_s=took_s, sentence=line))
    return outcomes


def clock_1970(nets: RealNetworks) -> list[Outcome]:
    return wrong_clock(nets, "1970-01-01 00:05:00")


def clock_2101(nets: RealNetworks) -> list[Outcome]:
    return wrong_clock(nets, "2101-06-01 00:00:00")


def suspended(nets: RealNetworks) -> list[Outcome]:
    """b and its trainer stand still for a minute; the clock of the machine goes on."""
    pair(nets, NET)
    a = nets.start("a", PLAIN)
    nets.start("b", PLAIN | {"connect": ["192.0.2.1"]})
    job = both_train(a)
    group = nets.processes("b")
    for pid in group:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(SUSPENDED_S)

    def resume() -> None:
        for pid in group:
            os.kill(pid, signal.SIGCONT)

    return [recovered(f"suspended for {SUSPENDED_S:.0f} s", resume, a, job)]


CASES: dict[str, Callable[[RealNetworks], list[Outcome]]] = {
    case.__name__: case
    for case in (
        name_anew,
        moved_listener,
        mtu_600,
        mtu_1280,
        udp_rejected,
        both_behind_nat,
        clock_1970,
        clock_2101,
        suspended,
    )
}


def line(row: dict[str, object]) -> str:
    took = "counted {counted_s} s" if row["counted_s"] is not None else "said {said_s} s: {sentence}"
    return f"{row['case']:42} {took.format(**row)}, load {row['load']}"


if __name__ == "__main__":
    main(__doc__, CASES, line)

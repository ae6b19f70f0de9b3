"""From facts to lines: what is well, what a person should know, what keeps the node from its work. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from muster.errors import EXIT_CODES
from muster.network.transport.members.clocks import RELEASED_S
from muster.node.doctor.facts import Facts
from muster.protocol.quantities import size_text

BEHIND_S = 120.0  # that a clock may be behind what it said before
FREE_FEW_BYTES, FREE_NO_BYTES = 500_000_000, 50_000_000
FREE_FILES = 1000
MEMORY_FEW_BYTES = 400_000_000  # the daemon and a trainer that has imported torch
CPU_TORCH = "https://download.pytorch.org/whl/cpu"


class Finding(msgspec.Struct, frozen=True):
    """One line of the doctor's."""

    topic: str
    level: Literal["ok", "warn", "fail"]
    text: str
    do: str = ""  # what to do about it
    code: str = ""  # of a failure: as in the catalogue of errors


def findings(facts: Facts) -> list[Finding]:
    """All lines, in the order in which one would look."""
    return [finding for look in _LOOKS for finding in look(facts)]


def exit_code(found: list[Finding]) -> int:
    """That of the first failure; 0: there is none."""
    return next((EXIT_CODES[finding.code] for finding in found if finding.level == "fail"), 0)


def _daemon(facts: Facts) -> Iterator[Finding]:
    if facts.daemon_fault:
        yield Finding("daemon", "fail", facts.daemon_fault, "if it hangs, its log says why", "no_node")
        return
    if facts.daemon is None:
        yield Finding(
            "daemon", "warn", f"no node runs in {facts.home.path}", "start it when the rest is well"
        )
        return
    node = facts.daemon.node
    said = f"{node.name} answers, {node.state}, pid {node.pid}"
    if node.version != facts.version:
        text = f"{said}; it is version {node.version}, this command is {facts.version}"
        yield Finding("daemon", "warn", text, "restart the node: it runs what was installed before")
    else:
        yield Finding("daemon", "ok", f"{said}, version {node.version}")
    for said in node.warnings:
        yield Finding("daemon", "warn", said)
    for loop in node.loops:
        if loop.sentence:
            yield Finding("daemon", "warn", loop.sentence, "see its log")


def _clock(facts: Facts) -> Iterator[Finding]:
    clock = facts.clock
    said = f"{_date(clock.now_s)} UTC"
    does = "set it ('timedatectl set-ntp true'); meanwhile dates and hours of [policy] are wrong, jobs go on"
    if clock.now_s < RELEASED_S:
        yield Finding("clock", "warn", f"{said} is before this version was made", does)
    elif clock.newest_s is not None and clock.now_s < clock.newest_s - BEHIND_S:
        yield Finding("clock", "warn", f"{said}, but the home was written at {_date(clock.newest_s)}", does)
    elif clock.synchronised is False:
        text = f"{said}, by no time server"
        yield Finding("clock", "warn", text, "'timedatectl set-ntp true', if the network has one")
    else:
        yield Finding("clock", "ok", f"{said}{', kept by a time server' if clock.synchronised else ''}")
    for said in facts.clocks:
        yield Finding("clock", "warn", said)


def _network(facts: Facts) -> Iterator[Finding]:
    shown = [f"{name} {', '.join(addresses)}" for name, addresses in facts.interfaces if addresses]
    bare = [name for name, addresses in facts.interfaces if not addresses]
    if shown:
        yield Finding("network", "ok", "; ".join(shown))
    elif bare:
        yield Finding(
            "network", "warn", f"{', '.join(bare)} has no address", "'ip address'; is there a DHCP server?"
        )
    else:
        text = "no interface is up but loopback: only nodes on this machine are in reach"
        yield Finding("network", "warn", text, "'ip link'; the node notices when one comes")
    if facts.daemon is not None:
        listen = ", ".join(facts.daemon.node.listen)
        yield Finding("port", "ok", f"the node listens on {listen} (UDP)")
        return
    for port in facts.ports:
        yield _port(port.endpoint, port.asked, port.fault, port.holder)


def _port(endpoint: str, asked: bool, fault: str, holder: str) -> Finding:
    if not fault:
        return Finding("port", "ok", f"UDP {endpoint} is free")
    if fault == "taken":
        text = f"UDP {endpoint} is taken{f' by {holder}' if holder else ''}"
        if not asked:
            return Finding("port", "warn", text, "the node takes another; say listen = [...] to keep one")
        return Finding("port", "fail", text, "end that program, or change listen in node.toml", "port_in_use")
    if fault == "no such address":
        return Finding(
            "port", "warn", f"this machine has no address {endpoint} now", "'ip address'; or change listen"
        )
    return Finding("port", "fail", f"UDP {endpoint} cannot be bound: {fault}", "change listen", "port_in_use")


def _neighbours(facts: Facts) -> Iterator[Finding]:
    for route in facts.routes:
        if route.why:
            yield Finding("neighbour", "warn", route.why)
        else:
            yield Finding("neighbour", "ok", f"a node answers at {route.endpoint}")
    if facts.daemon is None:
        return
    linked = [f"{n.name} (for {_span(n.up_s)})" for n in facts.daemon.neighbours]
    if linked:
        yield Finding("neighbours", "ok", f"in reach: {', '.join(linked)}")
    else:
        do = "is another one on? Name one with connect where multicast does not reach"
        looks = "" if facts.discovery else ", and discovery is off"
        yield Finding("neighbours", "warn", f"no node is in reach{looks}", do)
    others = [p for p in facts.daemon.peers if p.id != facts.daemon.node.id and p.revoked is None]
    away = [p for p in others if not p.reachable]
    if away:
        ages = [f"{p.name} ({'never' if p.heard_s is None else _span(p.heard_s) + ' ago'})" for p in away]
        yield Finding("neighbours", "ok", f"not in reach now, last heard: {', '.join(ages)}")
    for peer in facts.daemon.peers:
        if peer.later:
            yield Finding("neighbours", "warn", peer.later)
    cut = [p.name for p in facts.daemon.peers if p.cut_off]
    if cut:
        text = f"not heard, since they sent what nobody can use: {', '.join(cut)}"
        yield Finding("neighbours", "warn", text, "look at their versions and logs")


def _disk(facts: Facts) -> Iterator[Finding]:
    home = facts.home
    if home.fault:
        yield Finding(
            "disk", "fail", f"{home.path}: {home.fault}", "choose another home, or its owner", "home"
        )
        return
    if home.store_format not in (None, home.reads_format):
        text = (
            f"the store in {home.path} has format {home.store_format}, this version reads {home.reads_format}"
        )
        yield Finding(
            "disk", "fail", text, "install the version that wrote it, or move the home away", "home"
        )
    used = f"{home.path} has {size_text(home.used_bytes)} of at most {size_text(home.limit_bytes)} of blobs"
    said = f"{used}, {size_text(home.free_bytes)} free on its disk"
    if home.free_bytes < FREE_NO_BYTES:
        yield Finding("disk", "fail", said, "free some space: nothing can be kept", "disk_full")
    elif home.free_files < FREE_FILES:
        yield Finding("disk", "warn", f"{home.path}: room for {home.free_files} files", "remove files")
    elif home.free_bytes < FREE_FEW_BYTES:
        yield Finding("disk", "warn", said, "free some space, or lower policy.disk_limit_mb")
    elif home.free_bytes + home.used_bytes < home.limit_bytes:
        yield Finding(
            "disk", "warn", said, "lower policy.disk_limit_mb: the disk is full before it is reached"
        )
    else:
        yield Finding("disk", "ok", said if home.there else f"{said}; it is made at the first start")


def _memory(facts: Facts) -> Iterator[Finding]:
    if not facts.memory_bytes:  # the system does not say
        return
    said = f"{size_text(facts.memory_free_bytes)} of {size_text(facts.memory_bytes)} available"
    few = facts.memory_free_bytes < MEMORY_FEW_BYTES
    do = "a trainer with torch needs about that much: 'muster task check' measures a task"
    yield Finding("memory", "warn", said, do) if few else Finding("memory", "ok", said)


def _bundle(facts: Facts) -> Iterator[Finding]:
    bundle, now_s = facts.bundle, facts.clock.now_s
    if bundle.made_later:
        text = "none: the node is in this machine's own fleet, whose bundle is made at the first start"
        if facts.daemon is not None:  # it was named on the node's command line
            text = "not known here: name the node's settings with --config to have it looked at"
        yield Finding("bundle", "ok", text)
        return
    if bundle.fault:
        yield Finding("bundle", "fail", bundle.fault, code="fleet")
        return
    said = f"{bundle.path}: {bundle.name} of fleet {bundle.fleet}"
    if not bundle.from_s <= now_s <= bundle.until_s:
        text = f"{said}, valid from {_date(bundle.from_s)} to {_date(bundle.until_s)}; the clock is outside"
        yield Finding("bundle", "fail", text, "set the clock", "fleet")
    elif bundle.mode & 0o077:
        text = f"{said}; others on this machine can read its key (mode {bundle.mode:04o})"
        yield Finding("bundle", "warn", text, f"chmod 600 {bundle.path}")
    elif bundle.home_owner not in ("", "root", bundle.owner):
        text = f"{said}; it is {bundle.owner}'s, and {bundle.home_owner} runs the node"
        yield Finding("bundle", "fail", text, f"chown {bundle.home_owner} {bundle.path}", "fleet")
    elif bundle.name != facts.name:
        yield Finding(
            "bundle", "warn", f"{said}, while node.toml calls it {facts.name}", "the bundle's name is taken"
        )
    else:
        yield Finding("bundle", "ok", said)


def _packages(facts: Facts) -> Iterator[Finding]:
    torch, onnx = facts.packages.get("torch"), facts.packages.get("onnxruntime")
    if torch is None:
        do = f"{facts.pip} install torch --index-url {CPU_TORCH}"
        yield Finding("torch", "warn", "not installed: only tasks of other frameworks can be trained", do)
    else:
        build = "a build for CUDA, many times as large as one for CPUs" if facts.cuda else "for CPUs only"
        yield Finding("torch", "ok", f"{torch}, {build}")
    if onnx is not None:
        yield Finding("onnxruntime", "ok", onnx)
    elif facts.serves:
        do = f"{facts.pip} install onnxruntime"
        text = "not installed, but node.toml has a task to serve"
        yield Finding("onnxruntime", "fail", text, do, "service")
    else:
        yield Finding("onnxruntime", "ok", "not installed; only 'muster serve' needs it")


def _tasks(facts: Facts) -> Iterator[Finding]:
    for task in facts.tasks or ():
        if task.error:
            do = f"'muster task check {task.where or task.name}'"
            yield Finding("task", "fail", f"{task.name}: {task.error}", do, "task_fault")
        else:
            large = f"{task.parameters:,} parameters, {task.samples:,} samples"
            yield Finding("task", "ok", f"{task.name}, version {task.version}: {large}")


_LOOKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _daemon,
    _clock,
    _network,
    _neighbours,
    _disk,
    _memory,
    _bundle,
    _packages,
    _tasks,
)


def _date(time_s: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_s))
    except (OverflowError, ValueError):
        return f"{time_s:.0f} s after 1970"


def _span(seconds: float) -> str:
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"

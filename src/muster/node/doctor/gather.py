"""Gathers the facts: of the machine, of the routes to neighbours, and of the daemon if one runs."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from muster import __version__
from muster.control.blocking import connected_blocking
from muster.errors import MusterError
from muster.network.transport.endpoints import endpoint
from muster.network.transport.lan.interfaces import interfaces
from muster.network.transport.reaching.probing import gather as look_there
from muster.network.transport.reaching.why import why_unreachable
from muster.node.api.client import PROBE_TIMEOUT_S, SOCKET, Client
from muster.node.api.snapshot import Snapshot, TaskView
from muster.node.catalogue import task_source
from muster.node.config import NodeConfig
from muster.node.doctor import machine
from muster.node.doctor.facts import Facts, Route
from muster.node.doctor.ports import ports

ROUTES_AT_ONCE = 8


def gather(config: NodeConfig, *, opens: bool) -> Facts:
    """All facts of the node with this configuration; `opens`: its tasks, too, which takes seconds each."""
    daemon, clocks, fault = _daemon(config)
    memory, free = machine.memory_bytes()
    return Facts(
        version=__version__,
        name=config.name,
        clock=machine.clock(config.home),
        interfaces=tuple((i.name, i.addresses) for i in interfaces() if i.running and i.name != "lo"),
        ports=() if daemon else ports(config),
        routes=_routes(config, daemon),
        discovery=config.discovery,
        home=machine.home(config),
        memory_bytes=memory,
        memory_free_bytes=free,
        bundle=machine.bundle(config),
        serves=bool(config.serve),
        daemon=daemon,
        clocks=clocks,
        daemon_fault=fault,
        pip=f"{Path(sys.prefix) / 'bin' / 'pip'}",
        packages=machine.packages(),
        cuda=machine.torch_has_cuda(),
        tasks=asyncio.run(_tasks(config)) if opens else None,
    )


def _daemon(config: NodeConfig) -> tuple[Snapshot | None, tuple[str, ...], str]:
    """What the running node says of itself and of others' clocks, or why it does not."""
    client = Client(config.home)
    try:
        with connected_blocking(config.home / SOCKET, PROBE_TIMEOUT_S):
            pass
    except PermissionError:
        return None, (), f"{config.home} is another user's: run this with sudo"
    except OSError:
        return None, (), ""
    try:
        found = client.snapshot()
    except MusterError as error:
        return None, (), error.sentence
    try:
        return found, tuple(client.clocks()), ""
    except MusterError:  # an older node, which does not say
        return found, (), ""


def _routes(config: NodeConfig, daemon: Snapshot | None) -> tuple[Route, ...]:
    """What the node found out itself about a neighbour without a link, else what can be seen now."""
    known = {str(endpoint(u.endpoint)): u.sentence for u in (daemon.node.unlinked if daemon else ())}

    def route(text: str) -> Route:
        point = endpoint(text)
        if str(point) in known:
            return Route(text, known[str(point)])
        facts = look_there(point)
        return Route(text, "" if facts.udp == "answers" else why_unreachable(facts).sentence)

    with ThreadPoolExecutor(ROUTES_AT_ONCE) as threads:
        return tuple(threads.map(route, config.connect))


async def _tasks(config: NodeConfig) -> tuple[TaskView, ...]:
    """The tasks of node.toml, opened as a job opens them."""
    return tuple([await _opened(config, name) for name in config.tasks])


async def _opened(config: NodeConfig, name: str) -> TaskView:
    from muster.node.trainer.process import TrainerProcess

    trainer, source = TrainerProcess(), task_source(config, name)
    try:
        facts = await trainer.open(source)
    except (MusterError, ChildProcessError) as error:
        return TaskView(name, "", "", 0, 0, str(error), source.reference)
    finally:
        await trainer.close()
    parameters = facts.layout.parameters
    return TaskView(name, facts.version, facts.fingerprint.hex(), parameters, facts.samples)

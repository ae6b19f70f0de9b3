"""Runs a node as a process: around `core.Core` it puts a clock, a disk, sockets and signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from muster.control.server import ControlServer
from muster.errors import MusterError
from muster.network.supervisor import Pulse, Supervisor
from muster.network.transport.members import telling
from muster.network.transport.members.telling import MemberAddresses
from muster.network.transport.zenoh.config import LinkProfile
from muster.network.transport.zenoh.link import ZenohLink
from muster.network.trust.identity import FleetVerifier, Identity, load_bundle, machine_bundle
from muster.network.trust.signing import TrustStore
from muster.node import link_profile
from muster.node.catalogue import Catalogue
from muster.node.clock import wall_clock
from muster.node.config import NodeConfig, fleet_dir
from muster.node.core import Core, NodeStatus
from muster.node.energy.choice import choose
from muster.node.event_log import EventLog
from muster.node.field.lazy import LazyField
from muster.node.health import HealthWatch
from muster.node.log.lines import LogLine
from muster.node.log.printer import Libraries, LogOptions, Printer, writer
from muster.node.operations import Operations
from muster.node.policy import policy_of
from muster.node.service.notify import notify
from muster.node.serving.keeper import ServerKeeper
from muster.node.serving.processes import ServerProcesses
from muster.node.short_slices import ask_for_short_slices
from muster.node.worker.process import ModelWorker
from muster.storage.disk import DiskStore
from muster.storage.offload import Threads
from muster.storage.store import StorageError

SCRATCH = "scratch"
GAUGE_S = 5.0  # between two readings of the battery's gauge
Say = Callable[[str], None]  # prints a line beside the events, which others can read
Beside = Callable[[Path, Say], contextlib.AbstractAsyncContextManager[None]]  # given the node's home


class Daemon:
    """Opens the link, the catalogue and the control socket for one `Core`, and closes them at the end."""

    def __init__(
        self, config: NodeConfig, identity: Identity, store: DiskStore, threads: Threads, logged: LogOptions
    ) -> None:
        self._config, self._store = config, store
        scratch = config.home / SCRATCH
        scratch.mkdir(mode=0o700, exist_ok=True)
        for left in scratch.iterdir():  # by a process that was killed
            left.unlink()
        log, status = EventLog(wall_clock()), NodeStatus()
        self._printer = Printer(log, writer(logged.form, identity.name, os.environ), logged.level)
        report = partial(log.add, "error")
        self._threads = threads
        self._worker = ModelWorker(threads)
        self._catalogue = Catalogue(config, store, scratch, threads, report)
        self._supervisor = Supervisor(lambda sentence, job: log.add("error", sentence, job=job))
        loop = asyncio.get_running_loop()
        self._started_s = loop.time()
        profile = link_profile.at_start(config.profile, store.state(link_profile.KEY))
        self._link = ZenohLink(
            identity,
            list(config.listen),
            list(config.connect),
            discovery=config.discovery,
            profile=profile,
            on_problem=report,
            on_change=partial(log.add, "link"),
            supervisor=self._supervisor,
        )
        self._energy = choose(
            config.energy, config.trainer.threads, now=loop.time, traffic=self._link.traffic_total
        )
        self.core = Core(
            name=identity.name,
            signer=identity,
            member=identity.member(),
            trust=TrustStore(FleetVerifier(identity.ca_certificate)),
            store=store,
            link=self._link,
            policy=policy_of(config.policy),
            open_trainer=self._catalogue.open,
            installed=self._catalogue.has,
            battery=self._energy.level,
            energy=self._energy.account,
            log=log,
            offload=self._threads,
            compute=self._worker.for_model,
            status=status,
            supervisor=self._supervisor,
            measured=partial(time.clock_gettime, time.CLOCK_BOOTTIME),
            narrow=True if config.profile == "narrow" else None,
        )
        self._addresses = MemberAddresses(
            self._link,
            store.state(telling.KEY),
            keep=partial(store.note_state, telling.KEY),
            wall_s=log.wall_clock,
            on_problem=report,
            supervisor=self._supervisor,
        )
        self._field = LazyField(self.core, self._catalogue, config, scratch)
        self._operations = Operations(
            self.core,
            self._catalogue,
            self._field,
            self._link,
            config.home,
            self._started_s,
            self._addresses.clock_faults,
        )
        self._servers = [
            ServerKeeper(
                task, served, ServerProcesses(config.home, task, served), threads, partial(log.add, "serving")
            )
            for task, served in config.serve.items()
        ]
        self._control = ControlServer(
            config.control_socket, self._operations.answering(), self._operations.streaming()
        )

    async def run(self, beside: Beside | None = None) -> None:
        """Until a signal or `shutdown`. `beside` runs as long as the node answers."""
        loop = asyncio.get_running_loop()
        libraries = Libraries(self._printer.add)
        logging.root.addHandler(libraries)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._operations.over.set)
        await self.core.start()
        try:
            await self._control.start()
            where = ", ".join(self._link.listening()) or "no address yet"
            self.core.log.add("link", f"{self.core.name} listens on {where}")
            self.core.log.add("energy", self.core.energy.said)
            self._supervisor.keep("printing events", self._printer.run)
            if self._config.profile == "auto":
                self._supervisor.keep("adapting the links' timings", self._adapt_profile)
            self._supervisor.keep("telling addresses", self._addresses.run)
            if self._energy.gauge is not None:
                self._supervisor.keep("reading the battery's gauge", self._read_gauge)
            await self._field.start()
            for keeper in self._servers:
                self._supervisor.keep(f"keeping the server of {keeper.task}", keeper.run)
            watch = HealthWatch(self._supervisor, self.core.log, self._said)
            self._supervisor.keep("looking at all loops", watch.run)
            async with beside(self._config.home, self._say) if beside else contextlib.nullcontext():
                await self._operations.over.wait()
        finally:
            notify("STOPPING=1", os.environ)
            for number in (signal.SIGINT, signal.SIGTERM):  # the second one ends at once
                loop.remove_signal_handler(number)
            self._supervisor.ending()
            await asyncio.gather(*(keeper.close() for keeper in self._servers))
            await self._control.close()
            await self.core.close()
            self._worker.close()
            self._threads.close()
            await self._catalogue.close()
            self._printer.close()
            logging.root.removeHandler(libraries)

    def _said(self) -> str:
        """What the node does, in one line."""
        near = len(self._link.neighbours())
        return f"{self.core.status.state}, {near} neighbour{'' if near == 1 else 's'} in reach"

    def _say(self, text: str) -> None:
        self._printer.add(LogLine(self.core.log.wall_clock(), "info", "page", text))

    async def _adapt_profile(self, pulse: Pulse) -> None:
        def chosen(profile: LinkProfile) -> None:
            self.core.log.add("link", f"links are {profile.name}: timings to suit")
            with contextlib.suppress(StorageError):  # its disk may be full: measured again at the next start
                self._store.set_state(link_profile.KEY, profile.name.encode())

        await link_profile.adapt(pulse, self._link, self.core.rate_bytes_s, chosen)

    async def _read_gauge(self, pulse: Pulse) -> None:
        """Beside the loop: its firmware may take a while to answer."""
        assert self._energy.gauge is not None
        while True:
            pulse.renew(GAUGE_S)
            await self._threads(self._energy.gauge.refresh)
            self.core.energy.look()
            await asyncio.sleep(GAUGE_S)


async def run_node(config: NodeConfig, beside: Beside | None, logged: LogOptions) -> None:
    """Run one node until a signal or `shutdown` ends it,
    and `beside` with it (the page). Raises MusterError."""
    try:
        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MusterError(
            "home", f"the home {config.home} cannot be made ({error.strerror}): choose another with --home"
        ) from error
    bundle = config.bundle or machine_bundle(fleet_dir(), config.name)
    ask_for_short_slices()
    identity = load_bundle(bundle)
    if identity.name != config.name:
        print(f"this node is called {identity.name!r} by its bundle, not {config.name!r}", file=sys.stderr)
    threads = Threads()
    store = DiskStore(config.home, threads.later)
    try:
        daemon = Daemon(config, identity, store, threads, logged)
        await daemon.run(beside)
    except StorageError as error:
        raise MusterError(error.code, str(error)) from error
    finally:
        with contextlib.suppress(Exception):
            store.close()

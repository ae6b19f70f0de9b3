"""The daemon: the thin shell around `core.Core` that has a clock, a disk, sockets and signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from muster import __version__
from muster.control.server import ControlServer
from muster.errors import MusterError
from muster.job.context import Policy
from muster.network.transport.zenoh_link import ZenohLink
from muster.network.trust.identity import FleetVerifier, Identity, load_bundle, machine_bundle
from muster.network.trust.signing import TrustStore
from muster.node import link_profile as pacing
from muster.node.api.snapshot_builder import job_view, neighbour_views, snapshot
from muster.node.catalogue import Catalogue
from muster.node.clock import wall_clock
from muster.node.config import NodeConfig, fleet_dir
from muster.node.core import Core
from muster.node.energy import EnergyModel, gauge
from muster.storage.disk import DiskStore
from muster.storage.store import StorageError

SCRATCH = "scratch"
Beside = Callable[[Path], contextlib.AbstractAsyncContextManager[None]]  # given the node's home


class Daemon:
    """One node of the fleet, running."""

    def __init__(self, config: NodeConfig, identity: Identity, store: DiskStore) -> None:
        self._config, self._store = config, store
        scratch = config.home / SCRATCH
        scratch.mkdir(mode=0o700, exist_ok=True)
        for left in scratch.iterdir():  # by a process that was killed
            left.unlink()
        self._catalogue = Catalogue(config, store, scratch, lambda text: self.core.log.add("error", text))
        loop = asyncio.get_running_loop()
        self._started_s = loop.time()
        energy = config.energy
        model = (
            EnergyModel(energy.capacity_j, energy.idle_w, energy.train_w, loop.time, lambda: self.core.state)
            if energy
            else None
        )
        profile = pacing.at_start(config.profile, store.state(pacing.KEY))
        self._link = ZenohLink(
            identity,
            list(config.listen),
            list(config.connect),
            discovery=config.discovery,
            profile=profile,
            on_problem=lambda sentence: self.core.log.add("error", sentence),
        )
        self.core = Core(
            name=identity.name,
            signer=identity,
            member=identity.member(),
            trust=TrustStore(FleetVerifier(identity.ca_certificate)),
            store=store,
            link=self._link,
            policy=Policy(
                config.policy.accept,
                config.policy.tasks,
                config.policy.battery_min,
                int(config.policy.disk_limit_mb * 1e6),
            ),
            open_trainer=self._catalogue.open,
            installed=self._catalogue.has,
            battery=model.level if model else gauge,
            wall_clock=wall_clock(),
            narrow=True if config.profile == "narrow" else None,
        )
        self._control = ControlServer(
            config.control_socket,
            {
                "snapshot": self._snapshot,
                "train": self._train,
                "stop": self._stop,
                "export": self._export,
                "tasks": self._tasks,
                "log": self._log,
                "show": self._show,
                "diff": self._diff,
                "record": self._record,
                "self": self._self,
                "shutdown": self._shutdown,
            },
            {"events": self._events, "watch": self._watch},
        )
        self._over = asyncio.Event()

    async def run(self, beside: Beside | None = None) -> None:
        """Until a signal or `shutdown`. `beside` runs as long as the node answers."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._over.set)
        await self.core.start()
        try:
            await self._control.start()
            self.core.log.add("link", f"{self.core.name} listens on {', '.join(self._link.listening())}")
            printing = asyncio.create_task(self._print())
            async with beside(self._config.home) if beside else contextlib.nullcontext():
                await self._over.wait()
            printing.cancel()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):  # the second one ends at once
                loop.remove_signal_handler(number)
            await self._control.close()
            await self.core.close()
            await self._catalogue.close()

    async def _pace(self) -> None:
        """With `profile = "auto"`: timings by what the links were measured to carry."""
        met = False
        while self._config.profile == "auto":
            await asyncio.sleep(pacing.LOOK_S)
            neighbours = self._link.neighbours()
            met = met or bool(neighbours)
            rates = [r for n in neighbours if (r := self.core.rate_bytes_s(n)) is not None]
            alone_s = None if met else asyncio.get_running_loop().time() - self._started_s
            choice = pacing.choose(self._link.profile, rates, alone_s)
            if choice.profile is not self._link.profile:
                self._link.adopt(choice.profile)
                with contextlib.suppress(StorageError):
                    self._store.set_state(pacing.KEY, choice.profile.name.encode())
                self.core.log.add("link", f"links are {choice.profile.name}: timings to suit")
            if choice.renew:
                await self._link.renew()

    async def _print(self) -> None:
        async for item in self._events({"since": 0}):
            event = item["event"]
            clock = time.strftime("%H:%M:%S", time.localtime(event.time_s))
            with contextlib.suppress(OSError):  # its disk may be full; the node goes on
                print(f"{clock} {event.text}", flush=True)

    # ---- operations ---------------------------------------------------------------------------------

    async def _snapshot(self, _: dict[str, Any]) -> Any:
        now_s = asyncio.get_running_loop().time()
        return snapshot(
            self.core,
            version=__version__,
            uptime_s=now_s - self._started_s,
            home=str(self._config.home),
            listen=self._link.listening(),
            tasks=self._catalogue.views(),
            now_s=now_s,
        )

    async def _train(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api import job_requests as asking

        job = await asking.ask(self.core, self._catalogue, arguments, secrets.token_bytes(8))
        return {"job": job.hex()}

    async def _stop(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api import job_requests as asking

        job = asking.stop(self.core, str(arguments.get("job", "")), str(arguments.get("reason", "")))
        return {"job": job.hex()}

    async def _export(self, arguments: dict[str, Any]) -> Any:
        to = arguments.get("to")
        if not isinstance(to, str) or not to:
            raise MusterError("usage", "say where the model shall go: --to FILE")
        from muster.node.api import job_requests as asking

        job, commit = str(arguments.get("job", "")), str(arguments.get("commit", ""))
        return await asking.export(self.core, self._catalogue, job, Path(to), commit)

    async def _tasks(self, _: dict[str, Any]) -> Any:
        return await self._catalogue.examine()

    async def _log(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api import job_requests as asking

        runner = asking.find(self.core, str(arguments.get("job", "")))
        view = job_view(self.core, runner, None)
        answer = {"job": msgspec.structs.replace(view, commits=[]), "commits": view.commits}
        if arguments.get("why"):
            from muster.node.api import inspection as inspecting

            answer["why"] = inspecting.why(self.core, runner)
        if arguments.get("links"):
            answer["links"] = neighbour_views(self.core, asyncio.get_running_loop().time())
        return answer

    async def _show(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api import inspection as inspecting

        return inspecting.show(self.core, str(arguments.get("commit", "")))

    async def _diff(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api import inspection as inspecting

        return await inspecting.diff(self.core, str(arguments.get("a", "")), str(arguments.get("b", "")))

    async def _record(self, arguments: dict[str, Any]) -> Any:
        """Take in a record that was signed elsewhere: a revocation by the fleet's authority."""
        try:
            wire = bytes.fromhex(str(arguments.get("wire", "")))
        except ValueError as error:
            raise MusterError("usage", f"the record is not given in hex: {error}") from error
        record_id = self.core.ledger.receive(wire, b"")
        if record_id is None:
            raise MusterError("fleet", f"this node refuses the record: {self.core.ledger.refusals.last}")
        return {"record": record_id.hex()}

    async def _shutdown(self, _: dict[str, Any]) -> Any:
        self._over.set()
        return {}

    async def _watch(self, _: dict[str, Any]) -> AsyncIterator[Any]:
        """The node's view in pieces, for the page; imported only when somebody looks."""
        from muster.node.api.rows import state_stream

        async for item in state_stream.watch(self.core, self._own):
            yield item

    async def _self(self, _: dict[str, Any]) -> Any:
        from muster.node.api.rows import node_rows

        return node_rows.self_report(self.core, self._own())

    def _own(self) -> dict[str, Any]:
        from muster.node.api.rows import node_rows

        return {
            "version": __version__,
            "home": str(self._config.home),
            "pid": os.getpid(),
            "listen": self._link.listening(),
            "began_t": round(self._started_s, 1),
            "installed": self._catalogue.names(),
            "tasks": node_rows.task_rows(self._catalogue.views()),
        }

    async def _events(self, arguments: dict[str, Any]) -> AsyncIterator[Any]:
        since = int(arguments.get("since", 0))
        log = self.core.log
        while True:
            news = log.news
            for event in log.since(since):
                since = event.number
                yield {"event": event}
            await news.wait()


async def run_node(config: NodeConfig, beside: Beside | None = None) -> None:
    """Run one node until it is told to end, and `beside` with it (the page). Raises MusterError."""
    try:
        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MusterError(
            "home", f"the home {config.home} cannot be made ({error.strerror}): choose another with --home"
        ) from error
    bundle = config.bundle or machine_bundle(fleet_dir(), config.name)
    identity = load_bundle(bundle)
    if identity.name != config.name:
        print(f"this node is called {identity.name!r} by its bundle, not {config.name!r}", file=sys.stderr)
    store = DiskStore(config.home)
    try:
        daemon = Daemon(config, identity, store)
        await daemon.run(beside)
    finally:
        with contextlib.suppress(Exception):
            store.close()

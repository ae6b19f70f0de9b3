"""Answers the requests that come in over the node's control socket."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from muster import __version__
from muster.control.server import Operation, Stream
from muster.errors import MusterError
from muster.network.transport.zenoh.link import ZenohLink
from muster.node.api.snapshot import UnlinkedView
from muster.node.api.snapshot_builder import job_view, neighbour_views, snapshot
from muster.node.catalogue import Catalogue
from muster.node.core import Core
from muster.node.field.lazy import LazyField


class Operations:
    """The requests of commands and of the page; `over` is set by the one that ends the node."""

    def __init__(
        self,
        core: Core,
        catalogue: Catalogue,
        field: LazyField,
        link: ZenohLink,
        home: Path,
        started_s: float,
        clock_faults: Callable[[], list[str]],
    ) -> None:
        self._core, self._catalogue, self._field, self._link = core, catalogue, field, link
        self._home, self._started_s, self._clock_faults = home, started_s, clock_faults
        self.over = asyncio.Event()

    def answering(self) -> dict[str, Operation]:
        """Requests with one answer, by name."""
        return {
            "snapshot": self._snapshot,
            "train": self._train,
            "prune": self._prune,
            "plan": self._plan,
            "stop": self._stop,
            "export": self._export,
            "tasks": self._tasks,
            "task_source": self._task_source,
            "log": self._log,
            "rounds": self._rounds,
            "gauges": self._gauges,
            "stored_jobs": self._stored_jobs,
            "shared": self._shared,
            "show": self._show,
            "diff": self._diff,
            "use": self._use,
            "rollback": self._rollback,
            "adapt": self._adapt,
            "field": self._field_views,
            "to_label": self._to_label,
            "label": self._label,
            "find": self._find,
            "to_stand": self._to_stand,
            "record": self._record,
            "self": self._self,
            "clocks": self._clocks,
            "shutdown": self._shutdown,
        }

    def streaming(self) -> dict[str, Stream]:
        """Requests with a stream of answers, by name."""
        return {"events": self.events, "watch": self._watch}

    async def _snapshot(self, _: dict[str, Any]) -> Any:
        now_s = asyncio.get_running_loop().time()
        return snapshot(
            self._core,
            version=__version__,
            uptime_s=now_s - self._started_s,
            home=str(self._home),
            listen=self._link.listening(),
            tasks=self._catalogue.views(),
            unlinked=[
                UnlinkedView(str(point), reason.kind, reason.sentence)
                for point, reason in self._link.unlinked.reasons().items()
            ],
            now_s=now_s,
        )

    async def _train(self, arguments: dict[str, Any]) -> Any:
        if "muster.node.api.job_requests" not in sys.modules:  # numpy comes with it
            await self._core.context.offload(import_module, "muster.node.api.job_requests")
        from muster.node.api import job_requests

        job = await job_requests.ask(self._core, self._catalogue, arguments, secrets.token_bytes(8))
        return {"job": job.hex()}

    async def _prune(self, arguments: dict[str, Any]) -> Any:
        if "muster.node.api.pruning" not in sys.modules:  # numpy comes with it
            await self._core.context.offload(import_module, "muster.node.api.pruning")
        from muster.node.api import pruning

        return await pruning.prune(self._core, self._catalogue, arguments, secrets.token_bytes(8))

    async def _plan(self, arguments: dict[str, Any]) -> Any:
        if "muster.node.api.job_plan" not in sys.modules:  # numpy comes with it
            await self._core.context.offload(import_module, "muster.node.api.job_plan")
        from muster.node.api import job_plan

        return await job_plan.plan(self._core, self._catalogue, arguments)

    async def _stop(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api import job_requests

        prefix, reason = str(arguments.get("job", "")), str(arguments.get("reason", ""))
        job = await job_requests.stop(self._core, prefix, reason)
        return {"job": job.hex()}

    async def _find(self, arguments: dict[str, Any]) -> Any:
        """The whole id of a job."""
        from muster.node.api import job_requests

        return {"job": (await job_requests.find(self._core, str(arguments.get("job", "")))).view.id.hex()}

    async def _export(self, arguments: dict[str, Any]) -> Any:
        to = arguments.get("to")
        if not isinstance(to, str) or not to:
            raise MusterError("usage", "say where the model shall go: --to FILE")
        from muster.node.api import job_requests

        job, commit = str(arguments.get("job", "")), str(arguments.get("commit", ""))
        best = bool(arguments.get("best", False))
        return await job_requests.export(self._core, self._catalogue, job, Path(to), commit, best=best)

    async def _tasks(self, arguments: dict[str, Any]) -> Any:
        return await self._catalogue.examine() if arguments.get("open") else self._catalogue.views()

    async def _task_source(self, arguments: dict[str, Any]) -> Any:
        source = self._catalogue.source(str(arguments.get("task", "")))
        return {"reference": source.reference, "options": source.options}

    async def _log(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api import job_requests

        runner = await job_requests.find(self._core, str(arguments.get("job", "")))
        view = job_view(self._core, runner, None)
        answer = {"job": msgspec.structs.replace(view, commits=[]), "commits": view.commits}
        if arguments.get("why"):
            from muster.node.api import inspection

            found = inspection.why(self._core, runner)
            answer |= {"why": found.messages, "rounds": found.rounds, "errors": found.errors}
        if arguments.get("links"):
            answer["links"] = neighbour_views(self._core, asyncio.get_running_loop().time())
        return answer

    async def _rounds(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api import job_requests
        from muster.node.api.rounds import views

        runner = await job_requests.find(self._core, str(arguments.get("job", "")))
        after, number = arguments.get("after", ""), arguments.get("number", 0)
        if not isinstance(after, str) or not isinstance(number, int):
            raise MusterError("usage", "rounds are asked for after a commit (hex digits) and a number")
        return views.rounds(self._core, runner, after, number)

    async def _gauges(self, _: dict[str, Any]) -> Any:
        from muster.node.api import gauge_views

        return await gauge_views.gauges(self._core, __version__, self._started_s, self._home)

    async def _stored_jobs(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api.stored_jobs import stored_jobs

        return stored_jobs(self._core, int(arguments.get("skip", 0)), int(arguments.get("limit", 0)))

    async def _shared(self, _: dict[str, Any]) -> Any:
        from muster.node.api.shared_views import shared_views

        return shared_views(self._core)

    async def _show(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api import inspection

        return await inspection.show(self._core, str(arguments.get("commit", "")))

    async def _diff(self, arguments: dict[str, Any]) -> Any:
        from muster.node.api import inspection

        return await inspection.diff(self._core, str(arguments.get("a", "")), str(arguments.get("b", "")))

    async def _use(self, arguments: dict[str, Any]) -> Any:
        model, task = str(arguments.get("model", "")), str(arguments.get("task", ""))
        return await (await self._field.field()).use(model, task, force=bool(arguments.get("force", False)))

    async def _rollback(self, arguments: dict[str, Any]) -> Any:
        return await (await self._field.field()).rollback(str(arguments.get("task", "")))

    async def _adapt(self, arguments: dict[str, Any]) -> Any:
        return await (await self._field.field()).adapt(str(arguments.get("task", "")))

    async def _field_views(self, _: dict[str, Any]) -> Any:
        return await (await self._field.field()).looked_at()

    async def _to_label(self, arguments: dict[str, Any]) -> Any:
        return await self._field.to_label(str(arguments.get("task", "")), int(arguments.get("n", 1)))

    async def _label(self, arguments: dict[str, Any]) -> Any:
        sample, label, held = (arguments.get(name) for name in ("sample", "label", "held"))
        if type(sample) is not int or type(label) is not int or not isinstance(held, bool | None):
            raise MusterError("usage", "a label is given by the number of a sample and that of a class")
        await self._field.label(str(arguments.get("task", "")), sample, label, held)
        return {}

    async def _to_stand(self, arguments: dict[str, Any]) -> Any:
        """The records of a member that its revocation is to name."""
        from muster.node.api.revoking import to_stand

        try:
            node = bytes.fromhex(str(arguments.get("node", "")))
        except ValueError as error:
            raise MusterError("usage", f"the node is not given in hex: {error}") from error
        return {"stands": [record.hex() for record in to_stand(self._core, node)]}

    async def _record(self, arguments: dict[str, Any]) -> Any:
        """Take in a record that was signed elsewhere: a revocation by the fleet's authority."""
        try:
            wire = bytes.fromhex(str(arguments.get("wire", "")))
        except ValueError as error:
            raise MusterError("usage", f"the record is not given in hex: {error}") from error
        record_id = self._core.ledger.receive(wire, b"")
        if record_id is None:
            raise MusterError("fleet", f"this node refuses the record: {self._core.ledger.refusals.last}")
        return {"record": record_id.hex()}

    async def _clocks(self, _: dict[str, Any]) -> Any:
        return self._clock_faults()

    async def _shutdown(self, _: dict[str, Any]) -> Any:
        self.over.set()
        return {}

    async def _watch(self, _: dict[str, Any]) -> AsyncIterator[Any]:
        """The node's state in pieces, for the page; imported only when somebody looks."""
        from muster.node.api.rows import state_stream

        async for item in state_stream.watch(self._core, self._own, self._field.views):
            yield item

    async def _self(self, _: dict[str, Any]) -> Any:
        from muster.node.api.rows import node_rows

        return node_rows.self_report(self._core, self._own(), self._field.views())

    def _own(self) -> dict[str, Any]:
        from muster.node.api.rows import node_rows

        return {
            "version": __version__,
            "home": str(self._home),
            "pid": os.getpid(),
            "listen": self._link.listening(),
            "began_t": round(self._started_s, 1),
            "installed": self._catalogue.names(),
            "tasks": node_rows.task_rows(self._catalogue.views()),
        }

    async def events(self, arguments: dict[str, Any]) -> AsyncIterator[Any]:
        """The node's events after event `since`, as they come."""
        since = int(arguments.get("since", 0))
        log = self._core.log
        while True:
            news = log.news
            for event in log.since(since):
                since = event.number
                yield {"event": event}
            await news.wait()

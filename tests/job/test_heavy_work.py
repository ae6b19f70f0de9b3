"""Heavy work leaves the loop, and the world is another one when it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from small_field import SmallField

from muster.job import loader
from muster.job.models.downlink import make_downlink
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.protocol.records import Stop, Update
from muster.simulation.virtual.event_loop import run


class Gate:
    """Offloads in place; the result of some calls is held back until the gate is open."""

    def __init__(self, holds: Callable[[Callable[..., Any]], bool]) -> None:
        self._holds, self.open, self.waiting = holds, asyncio.Event(), 0

    async def __call__(self, call: Callable[..., Any], *arguments: Any) -> Any:
        result = call(*arguments)
        if self._holds(call):
            self.waiting += 1
            await self.open.wait()
        return result


def rounds_closed(field: SmallField, name: str, job: JobId) -> int:
    return sum(bool(p.folded) for p in field.runner(name, job).view.graph.points.values())


def test_a_round_that_was_added_up_while_the_job_was_stopped_is_not_committed() -> None:
    async def main() -> None:
        gate = Gate(lambda call: call is make_downlink)
        field = SmallField("ab", offload=gate)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=9), min_nodes=2)
        assert await field.until(lambda: gate.waiting == 1, 60)
        field.cores["a"].ledger.publish(Stop(job, "by its user"))
        await asyncio.sleep(5)
        gate.open.set()
        await asyncio.sleep(60)
        assert rounds_closed(field, "a", job) == 0
        assert field.runner("a", job).state() == "stopped"
        await field.close()

    run(main())


def test_what_was_trained_is_on_record_although_the_session_ends_while_it_is_encoded() -> None:
    async def main() -> None:
        gate = Gate(lambda call: call.__name__ == "_encode")
        field = SmallField("ab", offload=gate)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=9), min_nodes=2)
        assert await field.until(lambda: gate.waiting == 2, 60)
        closing = asyncio.create_task(field.runner("b", job).close())
        await asyncio.sleep(1)
        assert field.stores["b"].select(Update.KIND, job) == []
        gate.open.set()
        await closing
        mine = field.cores["b"].node
        kept = field.cores["b"].ledger.load(Update.KIND, job)
        assert [entry.author for entry in kept if entry.author == mine] == [mine]
        await field.close()

    run(main())


def test_records_that_come_while_numpy_is_loaded_are_there_when_the_job_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loader, "NEEDED", "json.tool")  # as if the runner were not loaded yet

    async def main() -> None:
        gate = Gate(lambda call: call.__name__ == "import_module")
        field = SmallField("ab", offload=gate)
        await field.start()
        job = field.ask("a")
        await asyncio.sleep(5)
        assert gate.waiting == 2
        assert job not in field.cores["b"].jobs.runners
        gate.open.set()
        assert await field.until(lambda: field.round("b", job) == 3, 120)
        await field.close()

    run(main())

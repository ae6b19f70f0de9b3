"""A node in figures: read from a core after a job, and bounded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from two_branches import ROUNDS, TASK, Field

from muster.node.api import gauge_views
from muster.node.api.gauge_views import gauges
from muster.node.api.gauges import Gauges
from muster.protocol.ids import JobId
from muster.simulation.virtual.event_loop import run


def after_a_job(check: Any) -> None:
    async def whole() -> None:
        field = Field()
        job = await field.play()

        async def read() -> Gauges:
            return await gauges(field.alpha, "0.1.0", 0.0, Path("/"))

        await check(field, job, read)
        await field.close()

    run(whole(), until_s=36_000)


def test_they_say_what_the_core_knows() -> None:
    async def check(field: Field, job: JobId, read: Any) -> None:
        runner = field.runner(field.alpha, job)
        found = await read()
        assert (found.name, found.members, found.neighbours, found.reachable) == ("alpha", 3, 1, 2)
        assert [link.node for link in found.links] == ["bravo"]
        assert found.disk_bytes == field.alpha.store.used_bytes()
        assert found.disk_free_bytes > 0
        assert found.loops["well"] > 3
        assert found.refused == {"invalid": 0, "unknown_author": 0}
        (one,) = found.jobs
        assert (one.id, one.task, one.state, one.round) == (job.hex(), TASK, "finished", ROUNDS)
        assert one.updates == len(runner.head().counted)
        assert one.spent_bytes == sum(s.bytes for s in runner.head().spent)
        assert list(one.metrics) == ["accuracy", "loss"]
        assert (one.heads, one.participants, one.refusing) == (1, 2, 1)
        field.alpha.ledger.refusals.invalid += 3
        assert (await read()).refused["invalid"] == 3

    after_a_job(check)


def test_they_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(field: Field, job: JobId, read: Any) -> None:
        monkeypatch.setattr(gauge_views, "LINKS_MAX", 2)
        monkeypatch.setattr(gauge_views, "JOBS_MAX", 1)
        near = {
            bytes([i]) * 32: SimpleNamespace(name=name, node=bytes([i]) * 32, since_s=0.0)
            for i, name in enumerate(("b", "b", "c", "d"))
        }
        monkeypatch.setattr(field.alpha.link, "neighbours", lambda: near)
        monkeypatch.setattr(gauge_views, "traffic_of", lambda core, node: (10, 1))
        runner = field.runner(field.alpha, job)
        running = SimpleNamespace(finished=lambda: None, acting=False)
        field.alpha.jobs.runners = {b"x": running, job: runner}  # type: ignore[dict-item]
        monkeypatch.setattr(gauge_views, "_job", lambda core, runner: runner)
        found = await read()
        assert [(link.node, link.sent_bytes) for link in found.links] == [
            ("b", 10), ("b~01010101", 10), ("others", 20),
        ]  # fmt: skip
        assert found.jobs == [running]  # what goes on goes first
        assert found.jobs_left_out == 1
        field.alpha.jobs.runners = {job: runner}
        monkeypatch.undo()

    after_a_job(check)

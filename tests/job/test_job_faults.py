"""A fault in one job ends neither the node nor other jobs, and a record that it fails on is set aside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from small_field import SmallField

from muster.history.graph import Graph
from muster.job.coordinator.loop import Coordinator
from muster.job.models import downlink
from muster.job.retirement import set_aside
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView
from muster.network.supervisor import PAUSE_MANY_S
from muster.network.sync.ledger import Entry
from muster.node.api.rows.state_stream import Watcher
from muster.node.api.snapshot_builder import snapshot
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.simulation.virtual.event_loop import run

FACTS = {"version": "", "began_t": 0.0, "home": "", "pid": 1, "listen": []}


def quiet() -> list[BaseException]:
    """Traces are what is expected here."""
    traces: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: traces.append(context["exception"]))
    return traces


def done(field: SmallField, name: str, job: JobId) -> bool:
    runner = field.cores[name].jobs.runners.get(job)
    return runner is not None and runner.state() == "finished"


def test_a_fault_in_one_job_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    real, bad = Coordinator._step, []

    def step(self: Coordinator) -> float | None:
        if self._view.id in bad:
            raise ZeroDivisionError("a fault in one job")
        return real(self)

    monkeypatch.setattr(Coordinator, "_step", step)

    async def main() -> None:
        traces = quiet()
        field = SmallField("ab")
        await field.start()
        first = field.ask("a")
        bad.append(first)
        second = field.ask("a")
        assert await field.until(lambda: all(done(field, n, second) for n in "ab"), 900)
        assert len(traces) <= 2  # once a node, however often
        assert "a fault in Muster holds this job up" in (field.runner("a", first).error or "")
        bad.clear()
        assert await field.until(lambda: done(field, "a", first), 2 * PAUSE_MANY_S)
        await field.close()

    run(main(), until_s=7200)


def test_a_transient_fault_is_not_the_end_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until now: "internal fault in a job", and the job was dead on this node until a restart."""
    real, left = Coordinator._step, [2]

    def step(self: Coordinator) -> float | None:
        if left[0]:
            left[0] -= 1
            raise ZeroDivisionError("a fault")
        return real(self)

    monkeypatch.setattr(Coordinator, "_step", step)

    async def main() -> None:
        quiet()
        field = SmallField("ab")
        await field.start()
        job = field.ask("a")
        assert await field.until(lambda: done(field, "a", job), 120)
        assert field.runner("a", job).error is None
        assert any("starts again in 1 s: ZeroDivisionError" in text for text in field.said("a"))
        await field.close()

    run(main(), until_s=3600)


def test_a_record_on_which_a_job_fails_three_times_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    real = downlink.fold
    me: list[bytes] = []
    poison: list[bytes] = []

    def fold(context: Any, updates: list[KnownUpdate], read: Any) -> Any:
        for update in updates:
            if not poison and update.key.node not in me:
                poison.append(update.id)
            if update.id in poison:
                raise OverflowError("cannot convert float infinity to integer")
        return real(context, updates, read)

    monkeypatch.setattr(downlink, "fold", fold)

    async def main() -> None:
        quiet()
        field = SmallField("ab")
        me.append(field.cores["a"].node)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=4))
        assert await field.until(lambda: done(field, "a", job), 600)
        assert poison
        [said] = [text for text in field.said("a") if "sets aside" in text]
        assert "OverflowError: cannot convert float infinity" in said
        [(record, reason)] = set_aside.load(field.stores["a"], job).items()
        assert [record] == poison
        stored = field.stores["a"].get(record)
        assert stored is not None
        assert stored.kind == "update"
        assert "infinity" in reason
        assert all(known.id != record for known in field.runner("a", job).view.updates.values())
        await field.cores.pop("a").close()
        again = field.restart("a")
        await again.start()
        assert all(known.id != record for known in (await again.jobs.load(job)).view.updates.values())
        await again.close()
        await field.close()

    run(main(), until_s=7200)


def test_a_record_that_no_view_takes_in_bricks_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Review 5.1: one commit with a reversed range, and neither node started again."""
    real = JobView.absorb
    poison: list[bytes] = []

    def absorb(self: JobView, entry: Entry) -> Any:
        if entry.id in poison:
            raise ValueError("a range of updates ends before it begins")
        return real(self, entry)

    monkeypatch.setattr(JobView, "absorb", absorb)

    async def main() -> None:
        quiet()
        field = SmallField("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=3))
        assert await field.until(lambda: done(field, "b", job), 300)
        poison.extend(s.id for s in field.stores["b"].select("offer", job))
        assert poison
        await field.cores.pop("b").close()
        b = field.restart("b")
        await b.start()
        runner = await b.jobs.load(job)
        assert runner.view.offers == {}
        assert runner.state() == "finished"
        assert set_aside.load(field.stores["b"], job).keys() == set(poison)
        await b.close()
        await field.close()

    run(main(), until_s=7200)


def test_only_what_was_in_hand_is_to_blame() -> None:
    view = JobView(b"j" * 32, None, b"a" * 32, Graph())  # type: ignore[arg-type]
    strikes = set_aside.Strikes()

    def fails(entry: Entry | None, error: Exception) -> Exception:
        try:
            raise error
        except Exception as caught:
            return caught

    theirs = Entry(b"r" * 32, b"b" * 32, None, b"", 1, 10)  # type: ignore[arg-type]
    mine = Entry(b"s" * 32, b"a" * 32, None, b"", 1, 10)  # type: ignore[arg-type]
    for blamed, entry, kind in (
        (None, None, ValueError),
        (None, mine, ValueError),
        (None, theirs, OSError),
        (theirs.id, theirs, ValueError),
    ):
        found = [strikes.out(fails(entry, kind("x")), view, b"a" * 32) for _ in range(3)]
        assert found == [None, None, blamed]


def test_a_listener_that_fails_keeps_no_other_from_knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange listens before the jobs: what fails there kept the record from its job."""

    async def main() -> None:
        traces = quiet()
        field = SmallField("ab")
        await field.start()

        def fails(entry: Entry) -> None:
            raise ZeroDivisionError("a fault in a listener")

        field.cores["b"].ledger.listeners.insert(0, fails)
        job = field.ask("a")
        assert await field.until(lambda: done(field, "b", job), 120)
        assert [type(error) for error in traces] == [ZeroDivisionError]
        await field.close()

    run(main(), until_s=3600)


def test_a_job_that_cannot_be_shown_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        traces = quiet()
        field = SmallField("ab")
        await field.start()
        first, second = field.ask("a"), field.ask("a")
        assert await field.until(lambda: done(field, "a", second), 300)
        core = field.cores["a"]
        monkeypatch.setattr(field.runner("a", first), "head", lambda: 1 / 0)
        for _ in range(2):
            seen = snapshot(
                core, version="", uptime_s=1.0, home="", listen=[], tasks=[], unlinked=[], now_s=1
            )
            assert [job.id for job in seen.jobs] == [second.hex()]
        watcher = Watcher(core, lambda: FACTS)
        monkeypatch.setattr(watcher, "_focus", lambda: None)
        Watcher._focus(watcher)
        assert list(watcher.look(1.0)["jobs"]) == [second.hex()]
        assert [type(error) for error in traces] == [ZeroDivisionError]
        await field.close()

    run(main(), until_s=3600)

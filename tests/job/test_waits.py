"""What a node knows of waits, refusals, revocations and clones is said to whoever asked."""

from __future__ import annotations

import asyncio
import re

import pytest
from small_field import SmallField

from muster.errors import MusterError
from muster.job.coordinator.offer_window import OFFER_GRACE_S
from muster.job.waits import outside
from muster.network.sync.heartbeat import STATES
from muster.network.sync.incarnation import CLONED_AFTER
from muster.network.sync.presence import Presence
from muster.network.trust.signing import seal
from muster.node.api.job_requests import _may_act
from muster.node.api.rows.state_stream import Watcher
from muster.node.api.snapshot import JobSnapshot
from muster.node.api.snapshot_builder import job_view
from muster.node.twins import CLONED_HERE
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.protocol.records import Revocation
from muster.simulation.identities import OWNER
from muster.simulation.trainers.linear import LinearTrainer
from muster.simulation.virtual.event_loop import run

LATE_S = 12.0  # two looks of the loop that says it


def view(field: SmallField, name: str, job: JobId) -> JobSnapshot:
    return job_view(field.cores[name], field.runner(name, job), None)


def said(field: SmallField, name: str) -> list[str]:
    return [e.text for e in field.cores[name].log.since(0) if e.kind == "wait"]


def test_a_lost_node_is_waited_for_aloud_and_until_when() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=1000), patience_s=20.0)
        await field.until(lambda: view(field, "a", job).round >= 3, 60.0)
        field.network.isolate(field.cores["b"].node)
        await field.until(lambda: bool(said(field, "a")), 30.0)
        (sentence,) = said(field, "a")
        assert re.fullmatch(r"waits for b, out of reach, until \d\d:\d\d:\d\d", sentence)
        assert view(field, "a", job).waits == [sentence]
        assert view(field, "a", job).why.endswith(f"; {sentence}")
        facts = {"version": "1", "home": "/h", "pid": 1, "listen": [], "began_t": 0.0, "tasks": []}
        row = Watcher(field.cores["a"], lambda: facts).look(asyncio.get_running_loop().time())["jobs"]
        assert row[job.hex()]["waits"] == [sentence]
        round_ = view(field, "a", job).round
        await field.until(lambda: view(field, "a", job).round > round_, 300.0)
        assert said(field, "a") == [sentence]  # once
        assert view(field, "b", job).waits[0].startswith("waits for a, ")
        await field.close()

    run(main(), until_s=3600)


def test_who_takes_no_part_is_said_with_the_reason_also_at_the_end() -> None:
    async def main() -> None:
        why = "batch norm needs 3 samples, it has 2"
        field = SmallField("abc", faults={"c": MusterError("task_fault", why)})
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=40))
        await field.until(lambda: field.runner("a", job).state() == "finished", 300.0)
        await asyncio.sleep(30.0)
        assert said(field, "a") == [f"c takes no part: {why}"]
        assert view(field, "a", job).waits == [f"c takes no part: {why}"]
        assert not said(field, "b")  # did not ask
        await field.close()

    run(main(), until_s=3600)


class SlowTrainer(LinearTrainer):
    async def measure_speed(self, batch: int) -> float:
        await asyncio.sleep(15.0)
        return await super().measure_speed(batch)


def test_a_trainer_that_starts_is_a_fact() -> None:
    async def main() -> None:
        field = SmallField("ab", SlowTrainer)
        await field.start()
        job = field.ask("a")
        await asyncio.sleep(LATE_S)
        assert "the trainer is starting" in view(field, "a", job).waits
        assert "the trainer is starting" in said(field, "a")
        assert "waits for the answers of b; the trainer of b is starting" in view(field, "a", job).why
        await field.close()

    assert OFFER_GRACE_S > 15.0
    run(main(), until_s=3600)


def test_a_job_without_a_start_says_who_has_it() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("b")
        for blob, _ in list(field.stores["b"].blobs()):
            field.stores["b"].delete_blob(blob)
        await asyncio.sleep(5.0)
        assert view(field, "a", job).waits == ["waits for the model that it begins with, from b"]
        await field.cores.pop("b").close()
        await asyncio.sleep(60.0)
        assert view(field, "a", job).why == (
            "waits for the model that it begins with: b, which has it, is out of reach"
        )
        await field.close()

    run(main(), until_s=3600)


class Twins:
    """Two processes with one key, and a neighbour between them that passes on what is newer."""

    def __init__(self, first: int, second: int) -> None:
        self.now_s = 0.0
        self.one, self.two = (Presence(b"b" * 32, start, lambda: self.now_s) for start in (first, second))
        self.between = Presence(b"a" * 32, 1, lambda: self.now_s)

    def beat(self, times: int, *who: Presence) -> None:
        for _ in range(times):
            self.now_s += 2.0
            for presence in who:
                said = [presence.next()]
                newer = self.between.outdated(said, b"b" * 32)
                self.between.merge(said, b"b" * 32)
                presence.merge([self.between.next(), *newer, *self.between.heartbeats()], b"a" * 32)


@pytest.mark.parametrize("second", [5, 4, 1])
def test_of_two_with_one_key_the_first_stops(second: int) -> None:
    """A copy of the home counts on from the same number of starts, a stolen bundle from none."""
    twins = Twins(4, second)
    twins.beat(30, twins.one)
    assert not twins.one.cloned
    twins.beat(30, twins.one, twins.two)
    assert twins.one.cloned
    assert STATES[twins.one.set_status("training", 0.5, None, b"", 1).state] == "cloned"
    assert not twins.two.cloned


def test_a_thief_with_an_empty_home_goes_on_above_the_owner_and_says_it_until_that_one_stops() -> None:
    """Both count their first start, and few heartbeats go: what the thief says is told to be old at once."""
    twins = Twins(1, 1)
    twins.beat(40, twins.one)
    twins.beat(1, twins.two)
    assert (twins.two.incarnation.start, twins.two.incarnation.insist) == (2, CLONED_AFTER)
    while twins.two.incarnation.insist:
        assert not twins.one.cloned
        twins.beat(1, twins.one, twins.two)
        twins.two.say_again()
    twins.beat(1, twins.one, twins.two)
    assert twins.one.cloned
    assert not twins.two.cloned


def test_a_former_life_that_is_heard_of_late_is_no_twin() -> None:
    """A node lost its disk and has been here for a while; then others come who knew it before."""
    twins = Twins(1, 9)
    twins.beat(30, twins.one)
    stale = twins.two.next()
    for _ in range(60):
        twins.beat(1, twins.one)
        twins.one.merge([stale])
    assert not twins.one.cloned
    assert twins.one.incarnation.start > stale.start


def test_a_clone_that_stops_says_so_and_leaves() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a")
        await field.until(lambda: field.runner("a", job).state() == "finished", 100.0)
        clone = field.cores["b"]
        clone.presence.incarnation.cloned = True
        for notify in clone.presence.change_listeners:
            notify()
        await asyncio.sleep(120.0)
        assert not field.cores["a"].link.neighbours()
        assert CLONED_HERE in [event.text for event in clone.log.since(0)]
        assert "this node was cloned" in view(field, "b", job).waits[0]
        with pytest.raises(MusterError, match="another process"):
            _may_act(clone)
        assert field.runner("b", job).error == "another process uses this node's bundle and started later"
        refusals = [e for e in field.cores["a"].ledger.load("refusal") if e.author == clone.node]
        assert not refusals  # it would be the other one's word, too
        await field.close()

    run(main(), until_s=3600)


def test_a_lost_disk_is_no_clone() -> None:
    """Others send the heartbeats of its former life, whose count of starts was higher."""
    again = Presence(b"b" * 32, 1, lambda: 0.0)
    old = Presence(b"b" * 32, 7, lambda: 0.0)
    for _ in range(5):
        again.merge([old.next()])
        again.next()
    assert not again.cloned


def test_a_revoked_node_is_named() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a")
        await field.until(lambda: field.runner("a", job).state() == "finished", 100.0)
        revocation = Revocation(field.cores["b"].node, "stolen")
        field.cores["a"].trust.verify(seal(OWNER, revocation)[1])
        facts = outside(field.cores["a"].context, field.runner("a", job).view, None)
        assert [f.text for f in facts] == ["b was revoked: stolen"]
        await field.close()

    run(main(), until_s=3600)

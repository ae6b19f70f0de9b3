"""From an owner's policy to the blob at whoever needs it, and its end with the job."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest
from small_field import SmallField

from muster.errors import MusterError
from muster.job.context import Policy, SharePolicy
from muster.job.sharing.publisher import noted
from muster.job.sharing.rules import stands_for
from muster.network.trust.signing import seal
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.protocol.records import Commit, Revocation, Shared, Stop
from muster.simulation.identities import PretendIdentity
from muster.simulation.trainers.linear import LinearTrainer, target_of
from muster.simulation.virtual.event_loop import run

SAMPLES = Policy(share=SharePolicy("samples"))
ROUNDS = StopRule(rounds=100)


def play(
    names: str,
    policy: Policy | Mapping[str, Policy],
    scene: Callable[[SmallField], Awaitable[None]],
    **more: Any,
) -> None:
    async def main() -> None:
        field = SmallField(names, policy=policy, **{"step_s": 0.5, **more})
        await field.start()
        await scene(field)
        await field.close()

    run(main())


def shared(field: SmallField, at: str, job: JobId) -> dict[str, Shared]:
    """By name: what a node knows that others share."""
    ids = {core.node: name for name, core in field.cores.items()}
    return {ids[node]: record for node, record in field.runner(at, job).view.shared.items()}


def held(field: SmallField, at: str, of: str, job: JobId) -> bool:
    record = shared(field, at, job).get(of)
    return record is not None and field.cores[at].store.has_blob(record.payload.blob or b"")


def test_a_job_that_asks_gets_the_samples_of_those_who_allow_it() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always")
        assert await field.until(lambda: held(field, "a", "b", job), 60)
        assert shared(field, "a", job).keys() == {"b"}
        record = shared(field, "a", job)["b"]
        assert (record.kind, record.samples, record.stands_for, record.number) == ("samples", 50, 50, 1)
        message = field.cores["a"].store.read_blob(record.payload.blob or b"")
        assert message == target_of(1, 40).tobytes()  # what b trains on
        assert "shares 50 real samples of its data (160 B) with this job" in field.said("b")
        assert noted(field.stores["b"], job, record.payload.blob or b"") is not None
        assert not [text for text in field.said("c") if "share" in text]
        assert await field.until(lambda: bool(field.ready("a", job)), 30)
        assert stands_for(field.runner("a", job).view, field.cores["b"].node) == 50

    play("abc", {"b": SAMPLES}, scene)


@pytest.mark.parametrize(("policy", "asked"), [("none", "always"), ("samples", "none")])
def test_neither_policy_nor_job_alone_is_enough(policy: str, asked: str) -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=StopRule(rounds=3), share=asked)
        assert await field.until(lambda: field.round("a", job) >= 3, 100)
        assert not shared(field, "a", job)

    play("ab", Policy(share=SharePolicy(policy)), scene)


def test_only_means_are_made_where_the_policy_says_so() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always")
        assert await field.until(lambda: "b" in shared(field, "a", job), 60)
        assert shared(field, "a", job)["b"].kind == "means"

    play("ab", {"b": Policy(share=SharePolicy("means"))}, scene)


def test_samples_that_find_no_room_are_not_shared_and_the_node_says_why() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=StopRule(rounds=3), share="always", share_bytes=120)
        assert await field.until(lambda: field.round("a", job) >= 3, 100)
        assert not shared(field, "a", job)
        assert "shares no samples with this job: not one sample fits into 120 bytes" in field.said("b")
        assert field.runner("b", job).error is None

    play("ab", {"b": SAMPLES}, scene)


def test_a_budget_of_bytes_is_not_spent_on_samples() -> None:
    async def scene(field: SmallField) -> None:
        stop = StopRule(rounds=3, bytes_node=400)
        job = field.ask("a", stop=stop, share="always")
        assert await field.until(lambda: field.runner("a", job).finished() is not None, 100)
        assert not shared(field, "a", job)  # 160 bytes are more than a quarter of 400

    play("ab", {"b": SAMPLES}, scene)


def test_they_are_deleted_everywhere_when_the_job_is_over_and_are_still_listed() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always")
        assert await field.until(lambda: held(field, "a", "c", job) and held(field, "b", "c", job), 60)
        blob = shared(field, "a", job)["c"].payload.blob
        assert blob is not None
        field.cores["a"].ledger.publish(Stop(job, "enough"))
        stores = field.stores.values()
        assert await field.until(lambda: not any(store.has_blob(blob) for store in stores), 30)
        assert shared(field, "a", job)["c"].samples == 50

    play("abc", {"c": SAMPLES}, scene)


def test_the_next_in_rank_has_them_too_and_nobody_else() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always", patience_s=20.0)
        assert await field.until(lambda: field.round("a", job) >= 6, 100)
        roster = field.runner("a", job).head().roster  # type: ignore[union-attr]
        names = {core.node: name for name, core in field.cores.items()}
        ranked = [names[node] for node in roster]
        holders = [name for name in ranked if held(field, name, ranked[-1], job)]
        assert holders == [ranked[0], ranked[1], ranked[-1]]

    play("abcdef", SAMPLES, scene)


def test_a_node_that_lost_its_disk_shares_again_and_the_newest_counts() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always")
        assert await field.until(lambda: held(field, "a", "b", job), 60)
        before = shared(field, "a", job)["b"]
        await field.cores["b"].close()
        field.stores["b"].lose(random.Random(7))
        field.cores["b"] = field.restart("b")
        await field.cores["b"].start()
        assert await field.until(lambda: shared(field, "a", job)["b"].number > before.number, 100)
        after = shared(field, "a", job)["b"]
        assert after.incarnation != before.incarnation
        assert after.payload == before.payload  # the same data, the same seed: nothing is fetched again
        assert await field.until(lambda: held(field, "b", "b", job), 60)

    play("ab", {"b": SAMPLES}, scene)


def test_a_blob_that_is_lost_alone_is_made_again_without_a_new_record() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always")
        assert await field.until(lambda: held(field, "a", "b", job), 60)
        record = shared(field, "b", job)["b"]
        field.stores["b"].delete_blob(record.payload.blob or b"")
        field.cores["b"].context.changes.notify()
        assert await field.until(lambda: held(field, "b", "b", job), 60)
        assert shared(field, "b", job)["b"] == record

    play("ab", {"b": SAMPLES}, scene)


def test_of_two_records_of_a_node_the_higher_number_counts_and_the_other_blob_goes() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always")
        assert await field.until(lambda: held(field, "a", "b", job), 60)
        b, old = field.cores["b"], shared(field, "a", job)["b"]
        other = b.store.put_blob(target_of(9, 40).tobytes())
        payload = msgspec.structs.replace(old.payload, blob=other)
        b.ledger.publish(msgspec.structs.replace(old, number=old.number + 1, payload=payload))
        assert await field.until(lambda: field.cores["a"].store.has_blob(other), 60)
        gone = old.payload.blob or b""
        assert await field.until(lambda: not field.cores["a"].store.has_blob(gone), 60)
        assert set(field.runner("a", job).pool.needs()) == {other}

    play("ab", {"b": SAMPLES}, scene)


def test_of_a_revoked_node_nothing_is_used_or_kept() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always")
        assert await field.until(lambda: held(field, "a", "b", job), 60)
        a, node = field.cores["a"], field.cores["b"].node
        blob = shared(field, "a", job)["b"].payload.blob or b""
        a.ledger.receive(seal(PretendIdentity("authority"), Revocation(node, "lost"))[1], b"")
        assert await field.until(lambda: not a.store.has_blob(blob), 60)
        assert node not in field.runner("a", job).pool.usable()

    play("abc", {"b": SAMPLES}, scene)


def test_samples_above_what_the_job_allows_are_neither_fetched_nor_used() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always", share_bytes=200)
        assert await field.until(lambda: held(field, "a", "b", job), 60)
        old = shared(field, "a", job)["b"]
        await field.cores["b"].close()
        large = field.cores["c"].store.put_blob(bytes(201))
        payload = msgspec.structs.replace(old.payload, blob=large, size_bytes=201)
        record = msgspec.structs.replace(old, number=old.number + 1, payload=payload)
        field.cores["a"].ledger.receive(seal(PretendIdentity("b"), record)[1], b"")
        await asyncio.sleep(30)
        assert shared(field, "a", job)["b"].payload.blob == large
        assert not field.cores["a"].store.has_blob(large)
        assert not field.runner("a", job).pool.usable()

    play("abc", {"b": SAMPLES}, scene)


def test_samples_that_are_no_samples_are_refused_before_anybody_trains_on_them() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always")
        assert await field.until(lambda: held(field, "a", "b", job), 60)
        b, old = field.cores["b"], shared(field, "a", job)["b"]
        wrong = b.store.put_blob(b"\xff" * 160)  # 40 times NaN
        payload = msgspec.structs.replace(old.payload, blob=wrong)
        b.ledger.publish(msgspec.structs.replace(old, number=old.number + 1, payload=payload))
        pool = field.runner("a", job).pool
        assert await field.until(
            lambda: (
                "the samples that b shares are refused: the shared samples are of another task"
                in field.said("a")
            ),
            60,
        )
        assert not pool.usable()
        assert not field.ready("a", job)
        assert await field.until(lambda: not field.cores["a"].store.has_blob(wrong), 60)
        await asyncio.sleep(30)
        assert not field.cores["a"].store.has_blob(wrong)  # and is not fetched again

    play("ab", {"b": SAMPLES}, scene)


def test_samples_cannot_weigh_more_than_their_node_offered() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always")
        assert await field.until(lambda: held(field, "a", "b", job), 60)
        b, old = field.cores["b"], shared(field, "a", job)["b"]
        b.ledger.publish(msgspec.structs.replace(old, number=old.number + 1, stands_for=1_000_000))
        assert await field.until(lambda: shared(field, "a", job)["b"].stands_for == 1_000_000, 60)
        assert stands_for(field.runner("a", job).view, b.node) == 50

    play("ab", {"b": SAMPLES}, scene)


class Dies(LinearTrainer):
    async def share(self, *wanted: Any) -> Any:
        raise ChildProcessError("killed: out of memory")


class Fails(LinearTrainer):
    async def share(self, *wanted: Any) -> Any:
        raise MusterError("task_fault", "coreset_space() failed")


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Dies, "the trainer died while it made them"), (Fails, "coreset_space() failed")],
)
def test_a_node_whose_samples_cannot_be_made_trains_all_the_same(
    kind: type[LinearTrainer], said: str
) -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=StopRule(rounds=5), share="always")
        assert await field.until(lambda: field.round("a", job) >= 5, 200)
        assert f"shares no samples with this job: {said}" in field.said("b")
        assert len(field.runner("a", job).head().roster) == 2  # type: ignore[union-attr]

    play("ab", {"b": SAMPLES}, scene, kind=kind)


def test_a_job_that_is_loaded_again_knows_them() -> None:
    async def scene(field: SmallField) -> None:
        job = field.ask("a", stop=ROUNDS, share="always")
        assert await field.until(lambda: held(field, "a", "b", job), 60)
        record = shared(field, "a", job)["b"]
        await field.cores["a"].close()
        field.cores["a"] = field.restart("a")
        await field.cores["a"].start()
        assert await field.until(lambda: job in field.cores["a"].jobs.runners, 60)
        assert shared(field, "a", job)["b"] == record
        assert held(field, "a", "b", job)
        assert await field.until(lambda: len(field.ready("a", job)) == 1, 60)

    play("ab", {"b": SAMPLES}, scene)


def test_their_bytes_count_once_in_the_commit_that_first_uses_them() -> None:
    async def scene(field: SmallField) -> None:
        job, c = field.ask("a", stop=ROUNDS, share="always"), field.cores["c"].node
        assert await field.until(lambda: held(field, "a", "c", job), 60)
        field.network.isolate(c)
        runner = field.runner("a", job)
        assert await field.until(lambda: field.round("a", job) >= 12, 300)
        head = runner.head()
        assert head is not None
        line = [p for p in runner.view.graph.ancestors(head.id) if isinstance(p.record, Commit)]
        used = [p for p in reversed(line) if p.record.stand_ins]  # type: ignore[union-attr]
        assert len(used) >= 5
        assert {s.bytes for p in used for s in p.spent if s.node == c} == {160}
        assert not [s for p in line if p.round < used[0].round for s in p.spent if s.node == c]

    play("abc", {"c": SAMPLES}, scene, step_s={"a": 0.5, "b": 0.5, "c": 500.0})

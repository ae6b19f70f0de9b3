"""Single commits of a job with two branches: shown, compared, started from; nodes in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from two_branches import LAYOUT, Catalogue, Field

from muster.errors import MusterError
from muster.node.api import job_requests as asking
from muster.node.api.inspection import diff, find_commit, is_prefix, layers, show, why
from muster.node.api.snapshot_builder import job_view, neighbour_views, sent_view
from muster.node.core import Core
from muster.protocol.ids import JobId
from muster.simulation.trainers.linear import TASK, initial_blob, layout_of
from muster.simulation.virtual.event_loop import run


def on_field(main: Any) -> None:
    async def whole() -> None:
        field = Field()
        job = await field.play()
        await main(field, job)
        await field.close()

    run(whole(), until_s=36_000)


def points(field: Field, job: JobId) -> list[Any]:
    return list(field.runner(field.alpha, job).view.graph.points.values())


def test_commits_are_shown_and_compared() -> None:
    async def main(field: Field, job: JobId) -> None:
        known = points(field, job)
        merge = next(p for p in known if p.is_merge)
        root = next(p for p in known if not p.parents)
        first = next(p for p in known if p.parents == (root.id,))

        shown = await show(field.alpha, first.id.hex()[:10].upper())
        assert (shown.commit.round, shown.commit.coordinator, shown.roster) == (
            1,
            "alpha",
            ["alpha", "bravo"],
        )
        assert [(c.node, c.sequence, c.steps, c.staleness) for c in shown.counted] == [
            (field.alpha.trust.name(f.node), f.sequence, f.steps, 0) for f in first.folded
        ]
        assert sum(c.weight for c in shown.counted) == pytest.approx(1.0)
        assert (shown.job, shown.task, shown.counted_in_all) == (job.hex(), TASK, 2)
        assert shown.params == first.record.params.hex()
        assert shown.params_bytes == LAYOUT.blob_bytes
        assert shown.commit.held
        assert shown.discarded == []

        of_merge = await show(field.alpha, merge.id.hex())
        assert of_merge.commit.parents == [p.hex() for p in merge.parents]
        assert (of_merge.commit.coordinator, of_merge.counted, of_merge.delta_bytes) == ("", [], None)
        assert of_merge.commit.bytes == 0
        assert of_merge.params_bytes == LAYOUT.blob_bytes

        a, b = merge.parents
        seen = await diff(field.alpha, a.hex(), b.hex())
        assert seen.same_job
        assert seen.only_a
        assert seen.only_b
        keys_a = {(c.node, c.sequence) for c in seen.only_a}
        assert not keys_a & {(c.node, c.sequence) for c in seen.only_b}
        models = field.runner(field.alpha, job).models
        moved = models.arrays(b)["w"].astype(np.float64) - models.arrays(a)["w"]
        (layer,) = seen.layers
        assert layer.name == "w"
        assert layer.shape == [40]
        assert layer.moved == pytest.approx(float(np.linalg.norm(moved)))
        assert layer.moved_max == pytest.approx(float(np.abs(moved).max()))
        same = await diff(field.alpha, merge.id.hex(), merge.id.hex())
        assert (same.only_a, same.only_b, same.layers[0].moved) == ([], [], 0.0)

        with pytest.raises(MusterError, match="does not hold the parameters") as caught:
            await diff(field.carol, a.hex(), b.hex())
        assert caught.value.code == "no_result"
        assert not (await show(field.carol, a.hex())).commit.held

    on_field(main)


def test_forecasts_stand_beside_outcomes_where_the_round_was_coordinated() -> None:
    async def main(field: Field, job: JobId) -> None:
        found = why(field.alpha, field.runner(field.alpha, job))
        first = [row for row in found.messages if row.round == 1]
        assert {row.node for row in first} == {"alpha", "bravo", ""}
        for row in first:
            assert row.codec == "dense32"
            assert row.why == "the recipe says so"
        sent = [row for row in first if row.node]
        assert all(row.bytes is not None and abs(row.bytes - row.bytes_forecast) < 20 for row in sent)
        assert all(row.seconds is not None for row in sent)
        assert found.rounds[0].round == 1
        nothing = why(field.carol, field.runner(field.carol, job))
        assert (nothing.messages, nothing.rounds, nothing.errors) == ([], [], None)

    on_field(main)


def test_bytes_sent_are_shown_by_job_and_by_link() -> None:
    async def main(field: Field, job: JobId) -> None:
        traffic = field.alpha.exchange.traffic
        shown = job_view(field.alpha, field.runner(field.alpha, job), None).sent
        assert shown == sent_view(traffic.by_job[job])
        assert min(shown.payload, shown.records) > 1000
        links = neighbour_views(field.alpha, 0.0)
        assert [link.sent for link in links] == [
            sent_view(traffic.by_neighbour[n]) for n in field.alpha.link.neighbours()
        ]
        assert sum(link.sent.payload for link in links) >= shown.payload

    on_field(main)


def test_a_new_job_starts_from_a_commit_wherever_it_is_asked() -> None:
    async def main(field: Field, job: JobId) -> None:
        known = points(field, job)
        old = next(p for p in known if p.round == 3 and not p.is_merge)
        merge = max((p for p in known if p.is_merge), key=lambda p: p.round)
        for core, point in ((field.alpha, old), (field.carol, merge)):
            arguments = {"task": TASK, "rounds": 2, "from": point.id.hex()[:12]}
            new = await asking.ask(core, Catalogue(), arguments, b"again")  # type: ignore[arg-type]
            root = next(p for p in field.runner(core, new).view.graph.points.values() if not p.parents)
            assert root.record.params == field.runner(core, job).models.blob_of(point.id)
            assert root.record.params == field.runner(field.alpha, job).models.blob_of(point.id)
            assert root.round == 0
        await field.until(lambda: field.head(field.alpha, new) == 2)  # the one that carol asked for

    on_field(main)


def test_a_job_from_a_commit_may_be_smaller_and_one_from_that_is_as_small() -> None:
    async def main(field: Field, job: JobId) -> None:
        old = next(p for p in points(field, job) if p.round == 3 and not p.is_merge)
        wide = field.runner(field.alpha, job).models.blob_of(old.id)
        catalogue = Catalogue()
        catalogue.trainer.blob = field.alpha.store.put_blob(initial_blob(layout_of(20)))
        arguments: dict[str, Any] = {"task": TASK, "rounds": 2, "from": old.id.hex(), "width": 0.5}
        new = await asking.ask(field.alpha, catalogue, arguments, b"half")  # type: ignore[arg-type]
        assert catalogue.trainer.narrowings == [(wide, 1.0)]
        await field.until(lambda: field.head(field.bravo, new) == 2)
        runner = field.runner(field.bravo, new)
        assert (runner.view.job.width, runner.models.layout) == (0.5, layout_of(20))
        head = runner.head()
        assert head is not None
        catalogue = Catalogue()
        again = {"task": TASK, "rounds": 1, "from": head.id.hex()}
        third = await asking.ask(field.alpha, catalogue, again, b"as small")  # type: ignore[arg-type]
        assert field.runner(field.alpha, third).view.job.width == 0.5
        assert catalogue.trainer.narrowings == []
        with pytest.raises(MusterError, match=r"width 0\.5, which can become smaller, not wider") as caught:
            await asking.ask(field.alpha, Catalogue(), again | {"width": 0.75}, b"x")  # type: ignore[arg-type]
        assert caught.value.code == "usage"

    on_field(main)


def test_what_cannot_be_started_from_is_said() -> None:
    async def main(field: Field, job: JobId) -> None:
        async def ask(core: Core, catalogue: Catalogue | None = None, **arguments: Any) -> str:
            with pytest.raises(MusterError) as caught:
                await asking.ask(core, catalogue or Catalogue(), {"task": TASK, **arguments}, b"x")  # type: ignore[arg-type]
            return caught.value.code

        old = next(p for p in points(field, job) if p.round == 2)
        prefix = old.id.hex()[:12]
        assert await ask(field.alpha, **{"from": "00000000"}) == "unknown_commit"
        assert await ask(field.alpha, **{"from": prefix, "task": "other"}) == "usage"
        other = Catalogue(layout_of(41))
        assert await ask(field.alpha, linger_s=-1.0) == "usage"
        assert await ask(field.alpha, other, **{"from": prefix}) == "fingerprint"
        assert other.trainer.closed
        field.network.cut(field.ids[1], field.ids[2])
        began_s = asyncio.get_running_loop().time()
        assert await ask(field.carol, **{"from": prefix, "patience_s": 9.0}) == "no_result"
        assert 8 <= asyncio.get_running_loop().time() - began_s < 30
        assert set(field.carol.jobs.runners) == {job}  # nothing half-begun

    on_field(main)


def test_prefixes() -> None:
    assert [is_prefix(t) for t in ("abcd", "ABCD", "abc", "abcg", "a" * 64, "a" * 65, "")] == [
        True, True, False, False, True, False, False,
    ]  # fmt: skip

    async def main(field: Field, job: JobId) -> None:
        with pytest.raises(MusterError, match="4 or more of the hex digits"):
            await find_commit(field.alpha, "zz")
        with pytest.raises(MusterError, match="lists them"):
            await find_commit(field.alpha, "0" * 64)
        runner = field.runner(field.alpha, job)
        twin = points(field, job)[-1]
        object.__setattr__(twin, "id", points(field, job)[0].id[:2] + twin.id[2:])
        with pytest.raises(MusterError, match="fits several commits"):
            await find_commit(field.alpha, twin.id.hex()[:4])
        assert (await find_commit(field.alpha, twin.id.hex()))[0] is runner

    on_field(main)


def test_empty_and_whole_number_tensors_move_too() -> None:
    a = {"n": np.array(3, np.int64), "e": np.zeros((0, 2), np.float32)}
    b = {"n": np.array(5, np.int64), "e": np.zeros((0, 2), np.float32)}
    assert [(m.name, m.shape, m.norm_a, m.moved, m.moved_max) for m in layers(a, b)] == [
        ("n", [], 3.0, 2.0, 2.0),
        ("e", [0, 2], 0.0, 0.0, 0.0),
    ]

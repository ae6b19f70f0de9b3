"""Jobs whose model becomes smaller while they go on, in virtual time."""

from __future__ import annotations

import numpy as np
import pytest
from small_field import SmallField

from muster.history.point import Point
from muster.node.api.inspection import diff
from muster.protocol.ids import JobId
from muster.protocol.parts import Prune, StopRule, Target
from muster.protocol.records import Commit
from muster.simulation.trainers.linear import layout_of
from muster.simulation.virtual.event_loop import run

HALF = Prune(0.5, 3, 3)


def line(field: SmallField, name: str, job: JobId) -> list[Point]:
    """The history up to a node's head, the oldest first."""
    runner = field.runner(name, job)
    head = runner.head()
    assert head is not None
    return list(runner.view.graph.ancestors(head.id))[::-1]


def weights(field: SmallField, name: str, point: Point) -> int:
    form = field.runner(name, JobId(point.record.job)).models.form_of(point.id)
    assert form is not None
    return form.layout.parameters


def prunings(field: SmallField, name: str, job: JobId) -> list[tuple[int, int]]:
    """(round, weights) of the commits that prune."""
    graph = field.runner(name, job).view.graph
    return [(p.round, weights(field, name, p)) for p in line(field, name, job) if graph.prunes(p)]


def test_half_of_the_channels_go_at_once_and_a_node_that_restarts_goes_on() -> None:
    async def scenario() -> None:
        field = SmallField("abc", step_s=0.5)
        await field.start()
        job = field.ask(
            "a", stop=StopRule(rounds=12), min_nodes=3, codec="stc:0.1", down_codec="stc:0.2",
            server_momentum=0.5, prune=HALF,
        )  # fmt: skip
        assert await field.until(lambda: field.round("b", job) >= 2, 600)
        await field.cores["b"].close()
        assert await field.until(lambda: field.round("a", job) >= 4, 600)
        field.cores["b"] = field.restart("b")
        await field.cores["b"].start()
        assert await field.until(lambda: all(field.round(n, job) == 12 for n in "abc"), 2000)
        assert prunings(field, "b", job) == [(3, 20)]
        [pruned] = [p for p in line(field, "a", job) if field.runner("a", job).view.graph.prunes(p)]
        assert isinstance(pruned.record, Commit)
        assert pruned.record.delta is None
        assert pruned.record.params_bytes == layout_of(20).blob_bytes
        for name in "abc":
            models, head = field.runner(name, job).models, field.runner(name, job).head()
            assert head is not None
            assert len(models.arrays(head.id)["w"]) == 20
        assert (
            len(
                {bytes(field.runner(n, job).models.blob_of(line(field, n, job)[-1].id) or b"") for n in "abc"}
            )
            == 1
        )
        counted = {f.node for p in line(field, "a", job) if p.round > 8 for f in p.folded}
        assert counted == {core.node for core in field.cores.values()}
        await field.close()

    run(scenario(), until_s=36_000)


def test_it_may_go_in_steps() -> None:
    async def scenario() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=8), min_nodes=2, prune=Prune(0.5, 2, 4))
        assert await field.until(lambda: field.round("b", job) == 8, 600)
        assert prunings(field, "b", job) == [(2, 33), (3, 27), (4, 20)]
        await field.close()

    run(scenario(), until_s=36_000)


def test_another_coordinator_prunes_when_the_first_one_is_gone() -> None:
    async def scenario() -> None:
        field = SmallField("abc", step_s=0.5)
        await field.start()
        job = field.ask(
            "a", stop=StopRule(rounds=10), min_nodes=2, codec="topk:0.2", down_codec="topk:0.2", prune=HALF
        )
        assert await field.until(lambda: field.round("b", job) >= 2, 600)
        await field.cores["a"].close()
        assert await field.until(lambda: field.round("b", job) == 10, 4000)
        assert prunings(field, "b", job) == [(3, 20)]
        field.cores["a"] = field.restart("a")
        await field.cores["a"].start()
        assert await field.until(lambda: field.round("a", job) == 10, 600)
        await field.close()

    run(scenario(), until_s=36_000)


def test_a_target_that_the_wide_model_reaches_does_not_end_the_job() -> None:
    async def scenario() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask(
            "a", stop=StopRule(rounds=20, target=Target("accuracy", 0.01)), min_nodes=2, prune=HALF
        )
        assert await field.until(lambda: field.runner("a", job).state() == "finished", 600)
        last = line(field, "a", job)[-1]
        assert (last.round, weights(field, "a", last)) == (4, 20)
        await field.close()

    run(scenario(), until_s=36_000)


def test_a_job_may_begin_from_a_pruned_commit() -> None:
    async def scenario() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=5), min_nodes=2, prune=HALF)
        assert await field.until(lambda: field.runner("a", job).state() == "finished", 600)
        model = field.runner("a", job).models.model_of(line(field, "a", job)[-1].id)
        assert model is not None
        again = field.ask("b", stop=StopRule(rounds=3), min_nodes=2, model=model)
        assert await field.until(lambda: field.round("a", again) == 3, 600)
        assert {weights(field, "a", p) for p in line(field, "a", again)} == {20}
        await field.close()

    run(scenario(), until_s=36_000)


def test_commits_on_either_side_of_a_pruning_are_compared_on_the_channels_of_both() -> None:
    async def scenario() -> None:
        field = SmallField("ab", step_s=0.5)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=5), prune=HALF)
        assert await field.until(lambda: field.round("a", job) == 5, 600)
        models, points = field.runner("a", job).models, line(field, "a", job)
        [pruned] = [p for p in points if field.runner("a", job).view.graph.prunes(p)]
        before = next(p for p in points if p.id == pruned.parents[0])
        head = points[-1]
        seen = await diff(field.cores["a"], pruned.id.hex(), head.id.hex())
        assert not seen.pruned
        over = await diff(field.cores["a"], before.id.hex(), head.id.hex())
        assert over.pruned
        assert [m.shape for m in over.layers] == [[20]]
        form = models.form_of(pruned.id)
        assert form is not None
        kept = models.arrays(before.id)["w"][list(form.shape.kept[0])]
        moved = np.linalg.norm(models.arrays(head.id)["w"].astype(np.float64) - kept)
        assert over.layers[0].moved == pytest.approx(float(moved))
        assert (await diff(field.cores["a"], before.id.hex(), pruned.id.hex())).layers[0].moved == 0.0
        await field.close()

    run(scenario(), until_s=36_000)

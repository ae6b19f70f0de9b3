"""Whole jobs whose end, closing model and export go by their metrics and directions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from small_field import LAYOUT, SmallField

from muster.compression.tensors import pack
from muster.errors import MusterError
from muster.job.context import EvaluationResult, Model
from muster.node.api.job_requests import export, stop
from muster.protocol.ids import JobId
from muster.protocol.parts import CLASSES, LOSS, Metric, StopRule, Target
from muster.simulation.trainers.base import Vector
from muster.simulation.trainers.linear import LinearTrainer, facts_of
from muster.simulation.virtual.event_loop import run

FAR = pack(LAYOUT, {"w": np.full(40, 3.0, np.float32)})  # from there the loss falls, and comes to rest
DISTANCE = Metric("distance", "min")


class Distances(LinearTrainer):
    """Measures how far the model is from the common optimum, too; accuracy is worse the nearer it is."""

    def measure(self, weights: Vector, which: str, limit: int | None) -> EvaluationResult:
        m = super().measure(weights, which, limit)
        total, count = m.figures["accuracy"]
        wrong = {"accuracy": (count - total, count), "distance": m.figures["loss"]}
        return EvaluationResult(m.examples, m.figures | wrong)


async def ended(field: SmallField, job: JobId, names: str | None = None) -> set[str | None]:
    """Why it is over, as each node says."""
    wanted = names or "".join(field.cores)
    await field.until(lambda: all(field.runner(n, job).finished() for n in wanted), 600.0)
    return {field.runner(n, job).finished() for n in wanted}


@pytest.mark.parametrize("common", [True, False])
def test_a_job_ends_when_it_gets_no_better_and_all_nodes_say_so(common: bool) -> None:
    """Accuracy of 1,000 examples comes to rest; a node that was away while it rose says the same."""

    async def main() -> None:
        field = SmallField("abc", common=common, samples=dict.fromkeys("abc", 1000))
        await field.cores["a"].start()
        await field.cores["b"].start()
        await asyncio.sleep(20)
        job = field.ask("a", stop=StopRule(stale=3), start=FAR, min_nodes=2)
        assert await field.until(lambda: field.round("b", job) >= 2, 60.0)
        await field.cores["c"].start()
        why = await ended(field, job)
        assert len(why) == 1
        assert str(why.pop()).startswith("no better for 3 rounds: the best was accuracy 0.")
        (last,) = {field.round(n, job) for n in "abc"}
        assert last > 5  # it did get better for a while
        await asyncio.sleep(60)
        assert {field.round(n, job) for n in "abc"} == {last}
        await field.close()

    run(main(), until_s=3600)


def test_a_target_of_any_metric_ends_a_job() -> None:
    async def main() -> None:
        field = SmallField("ab", Distances)
        await field.start()
        metrics = (DISTANCE, *CLASSES)
        job = field.ask("a", stop=StopRule(target=Target("distance", 1.0)), start=FAR, metrics=metrics)
        (why,) = await ended(field, job)
        assert str(why).startswith("target reached: distance ")
        assert float(str(why).split()[-1]) <= 1.0
        assert field.round("a", job) > 1
        await field.close()

    run(main(), until_s=3600)


OFF = Metric("off", "min")


class Between(Distances):
    """Measures how far the model is from where the mean of the last three of five models is."""

    def measure(self, weights: Vector, which: str, limit: int | None) -> EvaluationResult:
        m = super().measure(weights, which, limit)
        off = abs(float(weights.mean()) - 0.566)
        return EvaluationResult(m.examples, m.figures | {"off": (off * m.examples, float(m.examples))})


@pytest.mark.parametrize(
    ("metrics", "closed"),
    [
        ((DISTANCE, LOSS), "the last model"),
        ((CLASSES[0], LOSS), "the model of round 0"),
        ((OFF, *CLASSES), "the mean of the last 3 models"),
    ],
)
def test_the_closing_model_is_the_best_one_by_the_first_metric(
    metrics: tuple[Metric, ...], closed: str
) -> None:
    """From round to round the model comes nearer to the optimum; the mean of the last ones lies between."""

    async def main() -> None:
        field = SmallField("ab", Between)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=5), start=FAR, metrics=metrics, average=3)
        await ended(field, job)
        await asyncio.sleep(20)
        (said,) = [text for text in field.said("a") if text.startswith("closed with")]
        assert said.startswith(f"closed with {closed} as "), said
        for core in field.cores.values():  # and all nodes have it
            head = core.jobs.runners[job].head()
            assert head is not None
            assert not head.folded
        await field.close()

    run(main(), until_s=3600)


class Exporter:
    """A catalogue and its trainer."""

    def __init__(self) -> None:
        self.blob, self.task = b"", facts_of(LAYOUT, 50, True)

    async def open(self, task: str) -> Exporter:
        return self

    async def take_width(self, width: float) -> None:
        assert width == 1.0

    async def export(self, model: Model, to: Path, kind: str, metadata: dict[str, str]) -> None:
        self.blob, self.metadata = model.blob, metadata

    async def close(self) -> None: ...


def test_the_best_commit_is_exported(tmp_path: Path) -> None:
    """From the common optimum every step leads away: the root is the best, the last model is not."""

    async def main() -> None:
        field, catalogue = SmallField("ab"), Exporter()
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=9), metrics=(LOSS, CLASSES[0]))
        to, core = tmp_path / "model.safetensors", field.cores["a"]
        assert await field.until(lambda: field.round("a", job) >= 4, 60.0)
        await stop(core, job.hex(), "enough")  # it ends with the last model
        await asyncio.sleep(5)
        done: Any = await export(core, cast(Any, catalogue), job.hex(), to, best=True)
        assert (done["round"], done["metric"]) == (0, "loss")
        assert done["figures"]["loss"] == 0.0
        root = field.runner("a", job).models.blob_of(bytes.fromhex(done["commit"]))
        assert catalogue.blob == root
        assert catalogue.metadata["round"] == "0"
        last: Any = await export(core, cast(Any, catalogue), job.hex(), to)
        assert last["round"] >= 4
        assert catalogue.blob != root
        await field.close()

    run(main(), until_s=3600)


@pytest.mark.parametrize(
    "rule", [StopRule(rounds=4), StopRule(seconds=6.0), StopRule(bytes=2000), StopRule(bytes_node=900)]
)
def test_a_job_that_ends_by_what_it_may_spend_gives_its_best_model(rule: StopRule) -> None:
    """From the common optimum every step leads away: all nodes end with the root's parameters."""

    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a", stop=rule, metrics=(LOSS, CLASSES[0]))
        await ended(field, job)
        assert await field.until(lambda: field.runner("b", job).state() == "finished", 20.0)
        await asyncio.sleep(20)
        for name in "ab":
            runner = field.runner(name, job)
            head = runner.head()
            assert head is not None
            assert head.round >= 2
            (root,) = [p for p in runner.view.graph.points.values() if not p.parents]
            assert runner.models.blob_of(head.id) == runner.models.blob_of(root.id)
            figures = runner.view.figures(head.id)
            assert figures is not None
            assert figures.value(LOSS) == 0.0
        said = next(text for text in field.said("a") if text.startswith("closed with"))
        assert said.startswith("closed with the model of round 0 as ")
        assert ": loss 0 of the model of round 0, loss " in said
        await field.close()

    run(main(), until_s=3600)


def test_a_job_whose_last_model_is_the_best_ends_with_it() -> None:
    """No commit is made that would change nothing."""

    async def main() -> None:
        field = SmallField("ab", Distances)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=4), start=FAR, metrics=(DISTANCE, LOSS))
        await ended(field, job)
        await asyncio.sleep(20)
        for name in "ab":
            runner = field.runner(name, job)
            head = runner.head()
            assert head is not None
            assert head.folded
            assert runner.state() == "finished"
            figures = runner.view.figures(head.id)
            assert figures is not None
            assert figures.common
        await field.close()

    run(main(), until_s=3600)


class OnAPart(Distances):
    """On a part of the common set the model of the first round looks best; on the whole set it is not."""

    wholes = 0

    def measure(self, weights: Vector, which: str, limit: int | None) -> EvaluationResult:
        m = super().measure(weights, which, limit)
        type(self).wholes += which == "common" and limit is None
        flattered = limit is not None and 1.0 < float(weights.mean()) < 2.0
        return EvaluationResult(9, m.figures | {"distance": (0.0, 1.0)}) if flattered else m


def test_models_are_compared_on_the_whole_common_set() -> None:
    async def main() -> None:
        field = SmallField("ab", OnAPart)
        OnAPart.wholes = 0
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=5), start=FAR, metrics=(DISTANCE, LOSS))
        await ended(field, job)
        assert await field.until(lambda: field.runner("a", job).state() == "finished", 60.0)
        await asyncio.sleep(20)
        runner = field.runner("a", job)
        head = runner.head()
        assert head is not None
        assert head.folded  # the last model is the best after all
        assert 2 <= OnAPart.wholes <= 5
        await field.close()

    run(main(), until_s=3600)


def test_there_is_no_best_commit_where_nothing_was_measured(tmp_path: Path) -> None:
    class Nothing(LinearTrainer):
        async def evaluate(self, model: Model, which: str, limit: int | None = None) -> EvaluationResult:
            return EvaluationResult(0, {})

    async def main() -> None:
        field = SmallField("a", Nothing)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=2))
        await ended(field, job)
        with pytest.raises(MusterError, match="was measured"):
            await export(field.cores["a"], cast(Any, Exporter()), job.hex(), tmp_path / "m.onnx", best=True)
        await field.close()

    run(main(), until_s=3600)

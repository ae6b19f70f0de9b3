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
from muster.job.context import EvaluationResult
from muster.node.api.job_requests import export
from muster.protocol.records import CLASSES, LOSS, JobId, Metric, StopRule, Target
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
        field = SmallField("abc", common=common)
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


@pytest.mark.parametrize(("metrics", "mean"), [((DISTANCE, LOSS), False), ((CLASSES[0], LOSS), True)])
def test_the_closing_model_is_the_better_one_by_the_first_metric(
    metrics: tuple[Metric, ...], mean: bool
) -> None:
    """The mean of the last models is farther from the optimum than the last one."""

    async def main() -> None:
        field = SmallField("ab", Distances)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=5), start=FAR, metrics=metrics, average=3)
        await ended(field, job)
        await asyncio.sleep(20)
        (closed,) = [text for text in field.said("a") if text.startswith("closed with")]
        assert closed.startswith("closed with the mean" if mean else "closed with the last model")
        await field.close()

    run(main(), until_s=3600)


class Exporter:
    """A catalogue and its trainer."""

    def __init__(self) -> None:
        self.blob, self.task = b"", facts_of(LAYOUT, 50, True)

    async def open(self, task: str) -> Exporter:
        return self

    async def export(self, blob: bytes, to: Path, kind: str, metadata: dict[str, str]) -> None:
        self.blob, self.metadata = blob, metadata

    async def close(self) -> None: ...


def test_the_best_commit_is_exported(tmp_path: Path) -> None:
    """From the common optimum every step leads away: the root is the best, the last model is not."""

    async def main() -> None:
        field, catalogue = SmallField("ab"), Exporter()
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=4), metrics=(LOSS, CLASSES[0]))
        await ended(field, job)
        await asyncio.sleep(5)
        to, core = tmp_path / "model.safetensors", field.cores["a"]
        done: Any = await export(core, cast(Any, catalogue), job.hex(), to, best=True)
        assert (done["round"], done["metric"]) == (0, "loss")
        assert done["figures"]["loss"] == 0.0
        root = field.runner("a", job).models.blob_of(bytes.fromhex(done["commit"]))
        assert catalogue.blob == root
        assert catalogue.metadata["round"] == "0"
        last: Any = await export(core, cast(Any, catalogue), job.hex(), to)
        assert last["round"] == 4
        await field.close()

    run(main(), until_s=3600)


def test_there_is_no_best_commit_where_nothing_was_measured(tmp_path: Path) -> None:
    class Nothing(LinearTrainer):
        async def evaluate(self, params: bytes, which: str, limit: int | None = None) -> EvaluationResult:
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

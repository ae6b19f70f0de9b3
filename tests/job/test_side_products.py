"""Figures, contributions and ONNX files are beside the point: a job does not fail because of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from small_field import SmallField

from muster.errors import MusterError
from muster.job.context import ContributionResult, EvaluationResult, Model
from muster.node.api.job_requests import export
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule, Target
from muster.simulation.trainers.linear import LinearTrainer
from muster.simulation.virtual.event_loop import run


class NoFigures(LinearTrainer):
    async def evaluate(self, model: Model, which: str, limit: int | None = None) -> EvaluationResult:
        raise MusterError("task_fault", "the task failed in correct(): IndexError")


class DiesOfFigures(LinearTrainer):
    async def evaluate(self, model: Model, which: str, limit: int | None = None) -> EvaluationResult:
        raise ChildProcessError("out of memory")


class DiesOfContributions(LinearTrainer):
    async def value(self, *args: Any) -> ContributionResult:
        raise ChildProcessError("out of memory")


async def ended(field: SmallField, job: JobId) -> bool:
    return await field.until(
        lambda: all(field.runner(n, job).state() == "finished" for n in field.cores), 300.0
    )


@pytest.mark.parametrize(
    ("kind", "common"),
    [(NoFigures, True), (NoFigures, False), (DiesOfFigures, True), (DiesOfContributions, True)],
)
def test_a_job_ends_without_them(kind: type[LinearTrainer], common: bool) -> None:
    async def main() -> None:
        field = SmallField("ab", kind, common=common)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=6), average=3)
        await asyncio.sleep(1.0)
        assert await ended(field, job)
        assert not field.runner("a", job).error
        if kind is NoFigures:
            told = [t for t in field.said("a") if t.startswith("there are no figures")]
            assert told == ["there are no figures: the task failed in correct(): IndexError"]
        await field.close()

    run(main(), until_s=3600)


def test_a_job_that_only_figures_can_end_says_why_it_fails() -> None:
    async def main() -> None:
        field = SmallField("a", NoFigures)
        await field.start()
        job = field.ask("a", stop=StopRule(target=Target("accuracy", 0.9)))
        await field.until(lambda: bool(field.runner("a", job).error), 60.0)
        assert field.runner("a", job).error == "the task failed in correct(): IndexError"
        await field.close()

    run(main(), until_s=3600)


class Exporter:
    """A catalogue and its trainer; `cannot` says which kinds of file fail, and how."""

    def __init__(self, cannot: dict[str, Exception]) -> None:
        self.cannot, self.task = cannot, SimpleNamespace(fingerprint=b"f")

    async def open(self, task: str) -> Exporter:
        return self

    async def take_width(self, width: float) -> None:
        assert width == 1.0

    async def export(self, model: Model, path: Path, kind: str, metadata: dict[str, str]) -> None:
        if kind in self.cannot:
            raise self.cannot[kind]
        path.write_bytes(b"m")

    async def close(self) -> None:
        pass


FAULT = MusterError("task_fault", "torch cannot export this model to ONNX: no such operator")


@pytest.mark.parametrize("fault", [FAULT, ChildProcessError("signal 11")])
def test_an_onnx_file_that_cannot_be_made_is_a_warning(tmp_path: Path, fault: Exception) -> None:
    head = SimpleNamespace(id=b"h" * 32, round=3)
    view = SimpleNamespace(
        id=b"j" * 32,
        figures=lambda head: None,
        headline=SimpleNamespace(name="accuracy"),
        job=SimpleNamespace(task="t", fingerprint=b"f", width=1.0),
    )

    async def sound(commit: bytes) -> bool:
        return True

    models = SimpleNamespace(model_of=lambda commit: Model(b"b" * 32), sound=sound)
    runner = SimpleNamespace(view=view, models=models, head=lambda: head)

    async def load(job: JobId) -> Any:
        return runner

    jobs = SimpleNamespace(find=lambda prefix: [b"j" * 32], load=load)
    core = cast(Any, SimpleNamespace(jobs=jobs))

    def exported(to: str, **cannot: Exception) -> dict[str, Any]:
        return asyncio.run(export(core, cast(Any, Exporter(cannot)), "", tmp_path / to))

    done = exported("model", onnx=fault)
    assert done["paths"] == [str(tmp_path / "model.safetensors")]
    assert len(done["warnings"]) == 1
    assert done["warnings"][0].startswith("model.onnx is not written: ")
    with pytest.raises(MusterError):
        exported("model.onnx", onnx=fault)  # this one was asked for
    with pytest.raises(MusterError):
        exported("model", safetensors=fault)

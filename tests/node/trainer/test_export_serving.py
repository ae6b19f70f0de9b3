"""The trainer's request for the files of a served model: of a job's model, and of an exported file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from muster.errors import MusterError
from muster.learning.digits import Digits
from muster.learning.task import load
from muster.node.trainer.array_session import ArraySession
from muster.node.trainer.messages import ServingMessage, TaskSource
from muster.node.trainer.process import TrainerProcess
from muster.node.trainer.task_session import TaskSession

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits_sklearn.py"  # it trains arrays by itself
RAW = np.random.default_rng(0).integers(0, 17, (5, 8, 8)).astype(np.uint8)


def answers(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path)).run(None, {"input": RAW})


def test_a_model_of_a_job_and_the_same_from_a_file_answer_alike(tmp_path: Path) -> None:
    async def ask() -> list[ServingMessage]:
        trainer = TrainerProcess()
        try:
            await trainer.open(TaskSource("digits"))
            await trainer.initial(tmp_path / "base", 3)
            said = {"task": "digits", "commit": "abcd", "accuracy": "0.5"}
            await trainer.export(tmp_path / "base", tmp_path / "m.safetensors", "safetensors", said)
            return [
                await trainer.export_serving(
                    tmp_path / "base", tmp_path / "1", tmp_path / "1s", {"task": "digits"}
                ),
                await trainer.export_serving(
                    tmp_path / "m.safetensors", tmp_path / "2", tmp_path / "2s", {"accuracy": "0.75"}
                ),
            ]
        finally:
            await trainer.close()

    found = asyncio.run(ask())
    assert found == [ServingMessage("uint8", (8, 8), 10)] * 2
    for mine, his in zip(answers(tmp_path / "1"), answers(tmp_path / "2"), strict=True):
        assert np.array_equal(mine, his)
    assert np.array_equal(answers(tmp_path / "1s")[0], answers(tmp_path / "2s")[0])
    said = onnxruntime.InferenceSession(str(tmp_path / "2")).get_modelmeta().custom_metadata_map
    assert (said["commit"], said["accuracy"]) == ("abcd", "0.75")


def request(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"out": str(tmp_path / "m"), "sketch_out": str(tmp_path / "s"), "metadata": {}, **more}


def test_a_file_of_something_else_is_a_sentence(tmp_path: Path) -> None:
    session = TaskSession(Digits())
    (tmp_path / "odd.safetensors").write_bytes(b"hello")
    for name in ("odd", "none"):
        with pytest.raises(MusterError) as caught:
            session.do(
                "export_serving",
                request(tmp_path, file=str(tmp_path / f"{name}.safetensors")),
                lambda _: None,
            )
        assert caught.value.code == "bad_data"
    assert not (tmp_path / "m").exists()


def test_a_task_without_a_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="muster serves models of tasks with model") as caught:
        ArraySession(load(str(EXAMPLE), {})).do("export_serving", request(tmp_path, base="x"), lambda _: None)
    assert caught.value.code == "usage"

"""`muster track` to MLflow: by a fake of its client, and by the package where that is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fakenode import JOB
from scripted import ScriptedJob, commit

from muster.cli.main import run


class FakeMlflow:
    """A tracking server in memory, with the part of `MlflowClient` that is used."""

    def __init__(self) -> None:
        self.runs: list[SimpleNamespace] = []
        self.experiments: list[str] = []
        self.broken = 0  # so many of the next batches fail
        self.uris: list[str] = []

    def client(self, uri: str) -> FakeMlflow:
        self.uris.append(uri)
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        known = name in self.experiments
        return SimpleNamespace(experiment_id=self.experiments.index(name)) if known else None

    def create_experiment(self, name: str) -> int:
        self.experiments.append(name)
        return len(self.experiments) - 1

    def search_runs(self, experiments: list[int], filter_string: str, view: int, count: int) -> list[Any]:
        tag, job = filter_string.removeprefix("tags.").split(" = ")
        return [r for r in self.runs if r.data.tags.get(tag.strip("`")) == job.strip("'")][:count]

    def create_run(self, experiment: int, tags: dict[str, str], run_name: str) -> Any:
        info = SimpleNamespace(run_id=run_name, status="RUNNING")
        data = SimpleNamespace(tags=dict(tags), metrics=[], params={})
        self.runs.append(SimpleNamespace(info=info, data=data))
        return self.runs[-1]

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        if metrics and self.broken:
            self.broken -= 1
            raise ConnectionError("connection refused\nand more")
        data = next(r.data for r in self.runs if r.info.run_id == run_id)
        data.metrics += [(key, step, value) for key, value, _, step in metrics]
        data.params.update(params)
        data.tags.update(tags)

    def set_terminated(self, run_id: str, status: str) -> None:
        next(r.info for r in self.runs if r.info.run_id == run_id).status = status


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    fake = FakeMlflow()
    package, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    package.MlflowClient = fake.client  # type: ignore[attr-defined]
    for name in ("Metric", "Param", "RunTag"):
        setattr(entities, name, lambda *parts: parts)
    entities.ViewType = SimpleNamespace(ACTIVE_ONLY=1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return fake


def track(*more: str, uri: str = "http://127.0.0.1:5000") -> int:
    return run(["track", JOB, "--to", f"mlflow:{uri}", *more])


def test_a_job_is_a_run(job: ScriptedJob, mlflow: FakeMlflow) -> None:
    assert track("--once") == 0
    (made,) = mlflow.runs
    assert (mlflow.uris, mlflow.experiments) == (["http://127.0.0.1:5000"], ["muster"])
    assert made.info.run_id == f"digits-{JOB[:8]}"
    assert made.data.params == {"task": "digits", "lr": "0.1", "codec": "auto"}
    assert [(step, value) for key, step, value in made.data.metrics if key == "loss"] == [
        (1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)),
    ]  # fmt: skip
    assert ("share/bravo", 2, 0.5) in made.data.metrics
    assert made.data.tags["muster.commit"] == commit(3)
    assert made.info.status == "RUNNING"  # the job goes on
    job.do(2)
    job.finish()
    assert track() == 0
    assert len(mlflow.runs) == 1
    assert [step for key, step, _ in made.data.metrics if key == "loss"] == [1, 2, 3, 4, 5]
    assert made.info.status == "FINISHED"


def test_a_server_that_comes_back_gets_what_it_missed(
    job: ScriptedJob, mlflow: FakeMlflow, tmp_path: Path, capsys: Any
) -> None:
    mlflow.broken = 3
    job.finish()
    assert track("--to", f"csv:{tmp_path}/t.csv") == 0
    assert [step for key, step, _ in mlflow.runs[0].data.metrics if key == "loss"] == [1, 2, 3]
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 4
    told = capsys.readouterr().err
    assert told.count("cannot be written: connection refused; tries again") == 1
    assert told.count("is written again") == 1


def test_once_is_not_tried_again(job: ScriptedJob, mlflow: FakeMlflow, capsys: Any) -> None:
    mlflow.broken = 1
    assert track("--once") == 21
    assert "MLflow at http://127.0.0.1:5000 cannot be written" in capsys.readouterr().err


def test_the_experiment_may_be_named(
    job: ScriptedJob, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "field trial")
    assert track("--once") == 0
    assert mlflow.experiments == ["field trial"]


def test_without_the_package_the_extra_is_named(
    job: ScriptedJob, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert track("--once") == 2
    told = capsys.readouterr().err
    assert "pip install 'muster-fl[mlflow]'" in told
    assert len(told.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_real_client_takes_it(job: ScriptedJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pytest.importorskip("mlflow", reason="mlflow-skinny is not in the set-up: the extra `mlflow`")
    uri = f"file:{tmp_path}/runs"
    assert track("--once", uri=uri) == 0
    job.do(2)
    job.finish()
    assert track(uri=uri) == 0
    client = real.MlflowClient(uri)
    experiment = client.get_experiment_by_name("muster").experiment_id
    (made,) = client.search_runs([experiment])
    assert made.info.status == "FINISHED"
    assert made.data.tags["muster.job"] == JOB
    assert made.data.params["lr"] == "0.1"
    history = client.get_metric_history(made.info.run_id, "accuracy")
    assert [(m.step, m.value) for m in history] == [(n, pytest.approx(1 - 1 / (n + 1))) for n in range(1, 6)]

"""MLflow: a run for each job in an experiment, found again by its tag, with the round as step."""

from __future__ import annotations

import os
import time
from typing import Any

from muster.cli.track.target import curves, made_s, missing
from muster.errors import MusterError
from muster.node.api.rounds.schema import Round, Rounds

EXPERIMENT = "muster"  # unless $MLFLOW_EXPERIMENT_NAME says another
JOB, COMMIT, ROUND = "muster.job", "muster.commit", "muster.round"
SETTINGS = {  # where the user has not said otherwise
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a tracker that is away is asked again at the next round
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ALLOW_FILE_STORE": "true",
}


class MlflowRun:
    """`mlflow:URI`: an http(s) address of a tracking server, or what else MLflow takes."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: Any = None
        self._run = ""

    def resume(self, job: Rounds) -> tuple[str, int]:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient
            from mlflow.entities import ViewType
        except ImportError:
            raise missing("mlflow", "MLflow") from None
        try:
            self._client = MlflowClient(self._uri)
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
            known = self._client.get_experiment_by_name(name)
            experiment = known.experiment_id if known else self._client.create_experiment(name)
            found = self._client.search_runs(
                [experiment], f"tags.`{JOB}` = '{job.job}'", ViewType.ACTIVE_ONLY, 1
            )
            if found:
                self._run, tags = found[0].info.run_id, found[0].data.tags
                self._client.set_terminated(self._run, "RUNNING")
                return tags.get(COMMIT, ""), int(tags.get(ROUND, "0"))
            self._run = self._begin(job, experiment)
        except Exception as error:
            raise self._wrong(error) from error
        return "", 0

    def _begin(self, job: Rounds, experiment: str) -> str:
        from mlflow.entities import Param

        tags = {JOB: job.job, "muster.task": job.task, "mlflow.source.name": "muster"}
        made = self._client.create_run(experiment, tags=tags, run_name=f"{job.task}-{job.job[:8]}")
        run: str = made.info.run_id
        params = [Param("task", job.task), *(Param(name, str(value)) for name, value in job.recipe.items())]
        self._client.log_batch(run, params=params)
        return run

    def write(self, job: Rounds, r: Round) -> None:
        from mlflow.entities import Metric, RunTag

        at_ms = int(1000 * made_s(job, r, time.time()))
        metrics = [Metric(key, value, at_ms, r.number) for key, value in curves(r).items()]
        tags = [RunTag(COMMIT, r.commit), RunTag(ROUND, str(r.number))]
        try:
            self._client.log_batch(self._run, metrics, tags=tags)
        except Exception as error:
            raise self._wrong(error) from error

    def close(self, job: Rounds) -> None:
        """The run's state becomes the job's; one that goes on is left running, for the next time."""
        state = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}.get(job.state)
        if state is not None and self._run:
            try:
                self._client.set_terminated(self._run, state)
            except Exception as error:
                raise self._wrong(error) from error

    def _wrong(self, error: Exception) -> MusterError:
        if isinstance(error, MusterError):
            return error
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        return MusterError("tracker", f"MLflow at {self._uri} cannot be written: {line}")

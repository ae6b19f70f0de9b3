"""Where rounds are written to: `KIND:PLACE`, and what every kind can do."""

from __future__ import annotations

import difflib
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Protocol

from muster.errors import MusterError
from muster.node.api.rounds.schema import Round, Rounds

KINDS = {  # kind -> module, class, what the place is
    "tensorboard": ("tensorboard", "TensorBoard", "tensorboard:DIR"),
    "mlflow": ("mlflow_run", "MlflowRun", "mlflow:URI, such as mlflow:http://127.0.0.1:5000"),
    "csv": ("csv_file", "CsvFile", "csv:FILE"),
    "jsonl": ("jsonl_file", "JsonlFile", "jsonl:FILE"),
}


NODES_MAX = 64  # with curves of their own


class Target(Protocol):
    """Something that keeps rounds. Its constructor takes the place; every call may raise MusterError."""

    def resume(self, job: Rounds) -> tuple[str, int]:
        """Open it for `job`; the commit and the number of the last round that it holds, "" and 0 for none."""
        ...

    def write(self, job: Rounds, r: Round) -> None:
        """Add a round, which follows those that it holds. After a failure it may be tried again."""
        ...

    def close(self, job: Rounds) -> None:
        """Close it, with the job as it was seen last."""
        ...


def opened(text: str) -> Target:
    """The target behind `KIND:PLACE`. Raises MusterError usage.

    >>> type(opened("csv:rounds.csv")).__name__
    'CsvFile'
    """
    kind, colon, place = text.partition(":")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]}:{place}?" if near else f"use one of {', '.join(KINDS)}"
        raise MusterError("usage", f"{text!r} names no tracker: {hint}")
    module, name, form = KINDS[kind]
    if not colon or not place.strip():
        raise MusterError("usage", f"{text!r} does not say where: write {form}")
    target: Target = getattr(import_module(f"muster.cli.track.{module}"), name)(place)
    return target


def curves(r: Round) -> dict[str, float]:
    """A round as scalars by name, for trackers that draw curves."""
    found: dict[str, float] = {
        **r.metrics,
        "round/participants": len(r.contributions),
        "round/steps": r.steps,
        "round/examples": r.examples,
        "round/bytes": r.bytes,
        "job/bytes": r.bytes_total,
        "job/age_s": r.age_s,
    }
    if r.joules is not None:
        found["job/joules"] = r.joules
    for name, part in islice(r.contributions.items(), NODES_MAX):
        found[f"share/{name}"] = part.share
        if part.value is not None:
            found[f"value/{name}"] = part.value
    return found


def made_s(job: Rounds, r: Round, now_s: float) -> float:
    """When a round was made, on the clock of `now_s`."""
    return now_s - max(0.0, job.age_s - r.age_s)


def directory(path: Path) -> Path:
    """The absolute path of a directory, which is made. Raises MusterError usage."""
    absolute = path.expanduser().absolute()
    try:
        absolute.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MusterError("usage", f"{path} cannot be a directory: {error.strerror or error}") from error
    return absolute


def missing(extra: str, package: str) -> MusterError:
    """The error that a package is not installed."""
    return MusterError(
        "usage", f"{package} is not installed: python -m pip install 'muster-fl[{extra}]', or another --to"
    )

"""The report of a demo (`--report FILE.json`); docs/report.md describes every field, a test compares them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from muster.errors import MusterError

FORMAT = 1


class NodeReport(msgspec.Struct, frozen=True):
    """What one node gave."""

    samples: int
    steps: int
    examples: int
    updates_counted: int
    updates_late: int
    updates_refused: int
    share: float
    sent_bytes: int
    received_bytes: int
    value: float | None
    value_share: float | None
    joules: float | None = None  # None: it does not know what it draws


class ValuesReport(msgspec.Struct, frozen=True):
    """What the nodes' values add up to, against the true drop of the loss."""

    rounds: int
    valued: int
    predicted: float
    drop: float
    examples: int
    common: bool


class SentReport(msgspec.Struct, frozen=True):
    """What the nodes sent while the job ran, as they count it: before QUIC, UDP, IP and Ethernet."""

    payload: int
    records: int
    exchange: int
    presence: int
    again: int  # of payload and records
    frozen: int = 0  # of what tasks do not train, to nodes that lacked it


class ActReport(msgspec.Struct, frozen=True):
    """One job of a demo that plays its story several times."""

    title: str
    job: str
    rounds: int
    wall_s: float
    accuracy: float | None


class Measured(msgspec.Struct, frozen=True):
    """A model's accuracy on all classes, and on those that only the posts have."""

    title: str
    accuracy: float
    accuracy_posts: float


class CourierFigures(msgspec.Struct, frozen=True):
    """`classes`: which labels each post has alone; `rows`: everybody present, then the acts."""

    classes: dict[str, list[int]]
    rows: list[Measured]


class Turned(msgspec.Struct, frozen=True):
    """A model's accuracy on turned and on upright pictures, of all ten digits."""

    turned: float
    upright: float


class AdaptFigures(msgspec.Struct, frozen=True):
    """What the models of the story `adapt` are worth, on pictures that no camera saw."""

    before: Turned
    alone: Turned  # the mean of the cameras, each trained with its own labels and old samples
    pooled: Turned  # all their labels in one place, with old samples
    pooled_without_replay: Turned
    in_use: dict[str, Turned]  # of each node, at the end


class AdaptReport(msgspec.Struct, frozen=True):
    """What the story `adapt` brought, beside the job that its cameras did together."""

    cameras: list[str]  # the nodes whose cameras turn
    figures: AdaptFigures | None  # None: they could not be worked out
    requests: int  # of the generator, to all nodes
    failed: int
    mixed: int  # answers that are not those of the model that they name
    slowest_ms: float
    noticed_after: dict[str, int]  # requests of each camera from its turn until labels were asked for
    live_upright: dict[
        str, float
    ]  # right answers of each node, of the newest hundred, before anything turned
    live_turned: dict[str, float]  # of each camera, with the first model
    live_adapted: dict[str, float]  # the same with the model that was made together, of all digits
    refused: str  # what was said to the candidate from half-wrong labels
    returned_after: int  # labels, since it was forced into use
    wall_s: float  # of the whole story


class Report(msgspec.Struct, frozen=True):
    """Everything that the demo prints at the end, and the parameters that it ran with."""

    format: int
    muster: str
    scenario: str
    task: str
    split: str
    seed: int
    recipe: dict[str, float | str]
    emulation: str
    job: str
    state: str
    why: str
    metric: str
    figures: dict[str, float]
    figures_best_single: dict[str, float]
    figures_pooled: dict[str, float]
    metric_by_time: list[list[float]]
    accuracy: float | None
    accuracy_best_single: float | None
    best_single: str | None
    accuracy_pooled: float | None
    accuracy_by_time: list[list[float]]
    rounds: int
    wall_s: float
    setup_s: float
    bytes_by_link: dict[str, int]
    bytes_total: int
    bytes_setup: int
    bytes_sent: SentReport
    model_bytes: int
    nodes: dict[str, NodeReport]
    values: ValuesReport | None
    model_path: str | None
    model_paths: list[str]
    warnings: list[str]
    joules: float | None = None  # of the nodes that know what they draw
    acts: list[ActReport] = []  # of a story that is played several times; all else is about the last one
    courier: CourierFigures | None = None  # what the courier's story compares
    adapt: AdaptReport | None = None  # what the story of adapting brought


def write(report: Report, path: Path) -> None:
    """The report as JSON, whole or not at all. Raises MusterError("usage")."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        os.replace(part, path)
    except OSError as error:
        raise MusterError("usage", f"the report {path} cannot be written: {error.strerror}") from error


def check_writable(path: Path) -> None:
    """Refuse now what would fail after minutes. Raises MusterError("usage")."""
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or path.is_dir():
        raise MusterError(
            "usage", f"the report {path} cannot be written: choose a file in a writable directory"
        )

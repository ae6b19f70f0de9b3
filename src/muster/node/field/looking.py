"""Finds what the files say of a served task: its pointer and this node's own samples. Blocks: in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from muster.errors import MusterError
from muster.local.local_set import LocalSet, path_of
from muster.node.field.memory import Made
from muster.node.field.situation import InUse, Labels, Live
from muster.protocol.ids import CommitId
from muster.serving import pointer
from muster.serving.paths import folder_of
from muster.serving.pointer import Served
from muster.serving.report import ServerReport, alive, read_report

SEPARATOR = ": "  # between the kind of a pointer's reason and its sentence
KINDS = ("first", "adopted", "forced", "returned", "rolled back")


@dataclass(frozen=True)
class Found:
    """What the files say."""

    served: Served | None = None
    in_use: InUse | None = None
    made: Made | None = None  # what is known of the model in use
    labels: Labels = Labels()  # noqa: RUF009 (frozen)
    live: Live = Live()  # noqa: RUF009
    sketches: bool = False
    report: ServerReport | None = None  # of the server, while it runs


def look(home: Path, task: str, made: Mapping[str, Made]) -> Found:
    """All of it. `made`: by the SHA-256 of a model's file. Raises MusterError: one is damaged."""
    folder = folder_of(home, task)
    served = pointer.read(folder)
    report = read_report(folder)
    report = report if alive(report) else None
    if served is None:
        return Found(report=report)
    known, former = made.get(served.sha256), served.former
    in_use = InUse(
        served.version,
        known.commit if known is not None else b"",
        kind_of(served.reason),
        served.since,
        former.version if former is not None else None,
        _commit(made, former.sha256) if former is not None else b"",
    )
    sketches = served.current.sketch_path(folder).exists()
    found = Found(served, in_use, known, sketches=sketches, report=report)
    path = path_of(home, task)
    if not path.exists():  # nothing was asked or labelled yet
        return found
    with LocalSet.open(path) as samples:
        return replace(found, labels=_labels(samples, served, known), live=_live(samples, served))


def pointed(folder: Path) -> Served | None:
    """What the pointer says; of a damaged one nothing, so that a new model can take its place.

    Raises MusterError where it cannot be read."""
    try:
        return pointer.read(folder)
    except MusterError as error:
        if error.code != "bad_data":
            raise
        return None


def _labels(samples: LocalSet, served: Served, made: Made | None) -> Labels:
    counts = samples.counts(served.version)
    alarms = samples.alarms(1) if counts.epoch else []
    return Labels(
        epoch=counts.epoch,
        alarm=alarms[0].what if alarms else "",
        judged=counts.labels,
        wrong=counts.wrong,
        before=counts.labels_before,
        wrong_before=counts.wrong_before,
        accuracy=made.expected() if made is not None else None,
        labelled=counts.epoch_labelled,
        held=counts.epoch_held,
        samples=counts.epoch_newest,
    )


def _live(samples: LocalSet, served: Served) -> Live:
    alone = samples.verdicts(served.version, served.version, served.since)
    pairs = samples.verdicts(served.version, served.former.version, served.since) if served.former else []
    return Live(
        len(alone),
        sum(right for right, _ in alone),
        sum(used and not former for used, former in pairs),
        sum(former and not used for used, former in pairs),
    )


def kind_of(reason: str) -> str:
    """The kind that a pointer's reason begins with; of one that another program wrote: "first"."""
    kind = reason.partition(SEPARATOR)[0]
    return kind if kind in KINDS else "first"


def _commit(made: Mapping[str, Made], sha256: str) -> CommitId:
    known = made.get(sha256)
    return known.commit if known is not None else b""

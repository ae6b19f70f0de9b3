"""The page asks for samples to label, and gives labels: files only, so in a thread."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.errors import MusterError
from muster.local.local_set import LocalSet
from muster.local.rows import Sample
from muster.node.api.label_view import LabelSample, ToLabel
from muster.serving.labelling import form_in_use, limits_of
from muster.serving.paths import local_set_of
from muster.serving.settings import ServeConfig

SAMPLES_MAX = 100  # at once
SIDE_MIN, SIDE_MAX = 4, 512  # of what is shown as a picture
NUMBERS_MAX = 64  # of one that is shown as text


def to_label(home: Path, task: str, count: int, config: ServeConfig) -> ToLabel:
    """Samples that wait for labels, the least certain first. Raises MusterError."""
    form = form_in_use(home, task)
    with _opened(home, task, config) as local:
        found = local.unlabelled(min(max(count, 1), SAMPLES_MAX))
    return ToLabel(task, list(form.names) if form is not None else [], [_shown(sample) for sample in found])


def give_label(
    home: Path, task: str, sample: int, label: int, held: bool | None, config: ServeConfig
) -> None:
    """Keep a label. Raises MusterError: no_result for a sample that is not kept any more."""
    form = form_in_use(home, task)
    known = form.label(label) if form is not None else label
    with _opened(home, task, config) as local:
        if not local.label(sample, known, held):
            raise MusterError(
                "no_result", "that sample is not kept any more: newer ones have taken its place"
            )


def _opened(home: Path, task: str, config: ServeConfig) -> LocalSet:
    path = local_set_of(home, task)
    if not path.exists():
        raise MusterError("no_result", f"this node has no samples of {task}: they come with requests")
    return LocalSet.open(path, limits_of(config))


def _shown(sample: Sample) -> LabelSample:
    answer = sample.answer if isinstance(sample.answer, int) else None
    held = True if sample.hold else None
    pixels = _picture(sample.x)
    if pixels is None:
        return LabelSample(sample.id, 0, 0, 0, "", _text(sample.x), answer, held)
    height, width, channels = pixels.shape
    text = base64.b64encode(pixels.tobytes()).decode()
    return LabelSample(sample.id, width, height, channels, text, "", answer, held)


def _picture(x: NDArray[Any]) -> NDArray[np.uint8] | None:
    """(rows, columns, 1 or 3) from dark to bright; None: it is no picture."""
    if x.ndim == 3 and x.shape[0] in (1, 3, 4):
        x = x.transpose(1, 2, 0)
    elif x.ndim == 2:
        x = x[..., None]
    if x.ndim != 3 or x.shape[2] not in (1, 3, 4) or not SIDE_MIN <= min(x.shape[:2]) <= SIDE_MAX:
        return None
    plain = np.nan_to_num(x[..., : 1 if x.shape[2] == 1 else 3].astype(np.float64))
    step = -(-max(plain.shape[:2]) // SIDE_MAX)
    plain = plain[::step, ::step]
    low, high = plain.min(), plain.max()
    spread = (plain - low) / (high - low) if high > low else np.zeros_like(plain)
    return np.ascontiguousarray((spread * 255).round().astype(np.uint8))


def _text(x: NDArray[Any]) -> str:
    flat = x.reshape(-1)
    more = f" and {len(flat) - NUMBERS_MAX} more" if len(flat) > NUMBERS_MAX else ""
    return "  ".join(f"{float(value):.6g}" for value in flat[:NUMBERS_MAX]) + more

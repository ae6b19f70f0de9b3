"""What `muster label` and `muster.label` know of a served task without its server."""

from __future__ import annotations

from pathlib import Path

from muster.local.form import Form, form_of
from muster.local.limits import Limits
from muster.serving import pointer
from muster.serving.onnx_metadata import metadata_of
from muster.serving.paths import folder_of
from muster.serving.settings import ServeConfig


def form_in_use(home: Path, task: str) -> Form | None:
    """What samples and labels of a task are, as the model in use says; None: no model that says it is in use.

    Raises MusterError: usage, bad_data, home.
    """
    folder = folder_of(home, task)
    served = pointer.read(folder)
    return None if served is None else form_of(metadata_of(served.current.path(folder)))


def limits_of(config: ServeConfig) -> Limits:
    """What a node keeps of a task."""
    return Limits(
        unlabelled=config.keep_samples,
        unlabelled_bytes=round(config.keep_mb * 1e6),
        per_second=config.keep_per_s,
        labelled=config.keep_labels,
    )

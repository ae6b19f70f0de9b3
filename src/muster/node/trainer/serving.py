"""The request to write the two ONNX files by which a model is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muster.compression import tensors
from muster.learning import export
from muster.learning.served.files import save_served
from muster.learning.trained import trained_module
from muster.node.trainer.open_task import OpenTask
from muster.node.trainer.session_parts import OnStep


def export_serving(
    opened: OpenTask,
    on_step: OnStep,
    out: str,
    sketch_out: str,
    metadata: dict[str, str],
    base: str | None = None,
    file: str | None = None,
) -> dict[str, Any]:
    """Of the dense blob `base`, or of an exported safetensors `file`, whose own metadata are taken over.

    The reference of the sketch is taken of the data that all nodes have, so that it is the same everywhere;
    where there are none, of the node's own.
    """
    if base is not None:
        model = opened.loaded(tensors.read(opened.layout, Path(base)))
    else:
        assert file is not None
        model = trained_module(opened.task, Path(file))
        metadata = {**export.metadata_of(Path(file)), **metadata}
    data = opened.data.common or opened.data.own
    notes = {key: value for key, value in opened.notes().items() if key != "classes"}
    found = save_served(
        Path(out), Path(sketch_out), model, opened.task, data, opened.model_inputs(), {**metadata, **notes}
    )
    return {"dtype": found.sample.dtype, "shape": list(found.sample.shape), "classes": found.classes}

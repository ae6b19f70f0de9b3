"""A process of its own: what this node's newest samples look like to its model, by which nodes are compared.

    python -m muster.serving.sketching --local FILE.sqlite --model VERSION.sketch.onnx

prints `{"sketch": HEX, "samples": N}`; the samples are the newest 100 of the epoch, labelled or not.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.adaptation import likeness
from muster.errors import MusterError
from muster.local.local_set import LocalSet
from muster.serving.models import load_file

SAMPLES = 100
OUTPUT = "sketch"


def newest(local: LocalSet) -> NDArray[Any]:
    """(n, ...) the newest samples of the epoch that goes on, all of one shape."""
    epoch = local.counts().epoch
    rows = [s.x for s in local.unlabelled(SAMPLES, uncertain_first=False) if s.epoch == epoch]
    labelled = local.labelled(since_epoch=epoch).x
    rows += list(labelled[-SAMPLES:]) if len(labelled) else []
    alike = [x for x in rows if x.shape == rows[0].shape and x.dtype == rows[0].dtype]
    return np.stack(alike[:SAMPLES]) if alike else np.zeros((0,), np.float32)


def sketch(local: Path, model: Path) -> dict[str, Any]:
    """Raises MusterError."""
    loaded = load_file(model, "sketch")
    reference = likeness.reference_of(loaded.metadata)
    if reference is None:
        raise MusterError(
            "bad_data", f"{model} says nothing of the task's own data: nodes cannot be compared"
        )
    with LocalSet.open(local) as samples:
        x = newest(samples)
    if not len(x):
        return {"sketch": "", "samples": 0}
    try:
        features = loaded.run([OUTPUT], {loaded.inputs[0].name: x})[OUTPUT]
    except Exception as error:  # onnxruntime has a dozen kinds of its own
        said = " ".join(str(error).split())[:300]
        raise MusterError("bad_data", f"the samples do not fit the sketch of the model ({said})") from error
    made = likeness.sketch(features, reference)
    return {"sketch": made.hex(), "samples": len(x) if made else 0}


def main() -> int:
    parser = argparse.ArgumentParser(prog="muster.serving.sketching")
    parser.add_argument("--local", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    given = parser.parse_args()
    try:
        print(json.dumps(sketch(given.local, given.model)))
    except MusterError as error:
        print(json.dumps({"error": {"code": error.code, "sentence": error.sentence}}))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

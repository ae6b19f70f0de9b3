"""A process of its own: a candidate beside the model in use, on this node's held-out labels.

    python -m muster.serving.compare --home HOME --task TASK --candidate FILE.onnx

prints `{"version": of the model in use, "labels": N, "right": ..., "right_used": ..., "both": ...,
"wins": ..., "losses": ...}`: wins are labels that the candidate alone has right, losses those that the
model in use alone has right.  Labels are those of conditions as they are now, the newest 500, or those
since `--since-epoch`.  What is wrong is `{"error": {"code": ..., "sentence": ...}}` and the exit code of
docs/errors.md.

One model is in memory at a time, and `--seconds` end the process whatever a model does.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from muster.errors import EXIT_CODES, MusterError
from muster.local.local_set import LocalSet
from muster.local.rows import Labelled
from muster.serving.answers import answered
from muster.serving.models import give_memory_back, load_file
from muster.serving.paths import folder_of, local_set_of
from muster.serving.pointer import read, verified

SECONDS = 300


def rights(path: Path, labelled: Labelled, version: str = "candidate") -> list[bool]:
    """Whether a model answers each sample with its label. Raises MusterError bad_data, no_result."""
    loaded = load_file(path, version)
    if not loaded.classifies:
        raise MusterError(
            "no_result",
            f"the model {path} gives values and no classes: which one is better cannot be counted",
        )
    try:
        answers = answered(loaded, list(labelled.x))
    except Exception as error:  # onnxruntime has a dozen kinds of its own
        said = " ".join(str(error).split())[:300]
        raise MusterError(
            "bad_data", f"the model {path} cannot answer the labelled samples ({said})"
        ) from error
    return [
        answer is not None and answer == label
        for answer, label in zip(answers, labelled.y.tolist(), strict=True)
    ]


def compared(home: Path, task: str, candidate: Path, since_epoch: int | None = None) -> dict[str, Any]:
    """The counts. Raises MusterError."""
    folder = folder_of(home, task)
    served = read(folder)
    if served is None:
        raise MusterError("no_result", f"no model is in use for {task}: `muster use COMMIT`")
    with LocalSet.open(local_set_of(home, task)) as local:
        since = local.counts().epoch if since_epoch is None else since_epoch
        labelled = local.labelled(held=True, since_epoch=since)
    new = rights(candidate, labelled)
    give_memory_back()
    used = rights(verified(folder, served.current), labelled, served.version)
    pairs = list(zip(new, used, strict=True))
    return {
        "version": served.version,
        "labels": len(pairs),
        "right": sum(new),
        "right_used": sum(used),
        "both": sum(one and other for one, other in pairs),
        "wins": sum(one and not other for one, other in pairs),
        "losses": sum(other and not one for one, other in pairs),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="muster.serving.compare", description="A candidate and the model in use."
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--candidate", type=Path, required=True)
    parser.add_argument("--since-epoch", type=int)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGALRM, lambda *_: _out_of_time(given.seconds))
    signal.alarm(given.seconds)
    try:
        print(json.dumps(compared(given.home, given.task, given.candidate, given.since_epoch)), flush=True)
    except MusterError as error:
        print(json.dumps({"error": {"code": error.code, "sentence": error.sentence}}), flush=True)
        return error.exit_code
    return 0


def _out_of_time(seconds: int) -> None:
    """onnxruntime may be in the midst of a run that nothing interrupts: leave at once."""
    sentence = f"comparing took over {seconds} s and was ended"
    os.write(1, json.dumps({"error": {"code": "timeout", "sentence": sentence}}).encode() + b"\n")
    os._exit(EXIT_CODES["timeout"])


if __name__ == "__main__":
    sys.exit(main())

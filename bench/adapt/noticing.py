"""How soon changes are noticed, and how often nothing is: 10 kinds of change on 8 streams of MNIST each.

    python bench/adapt/noticing.py --data mnist.npz [--work FOLDER] [--json FILE]

A stream is 3,000 clean images and 3,000 changed ones, none of which the base was trained on.  An alarm
among the clean ones is false.  False alarms are counted on 24 streams of 10,000 clean images, drawn
independently, and in runs of one class with a mean length of 50.  About two minutes on a quiet core;
entropies are kept, so that it goes on where it stopped.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import conditions
import numpy as np
import torch
from numpy.typing import NDArray

from muster.adaptation.blocks import BLOCK
from muster.adaptation.input_sketch import SECOND_THRESHOLD, InputNoticing
from muster.adaptation.noticing import Noticing

STREAMS, HALF = 8, 3000
CLEAN_STREAMS, CLEAN = 24, 10_000
RUN = 50.0
NEW = 9
WITHIN = {"new class": 400}  # samples; others 150
FALSE_MAX = 0.2  # in 10,000
NOT_NOTICED = "other shares of classes"


def stream(
    name: str, seed: int, data: Path, folder: Path
) -> tuple[NDArray[np.float64], conditions.Images, float]:
    """(entropy of each answer, the images, accuracy after the change)."""
    rng = np.random.default_rng([seed, *name.encode()])
    x, y = conditions.fresh(data)
    without = NEW if name == "new class" else None
    model = conditions.trained(folder, data, without)
    before = rng.permutation(np.flatnonzero(y != without))[:HALF]
    left = np.setdiff1d(np.arange(len(y)), before)
    if name == NOT_NOTICED:  # two classes make up four fifths
        share = np.where(y[left] < 2, 0.4 / np.mean(y[left] < 2), 0.025 / np.mean(y[left] >= 2))
        share = share * np.where(y[left] < 2, 2.0, 8.0)
        after = rng.choice(left, HALF, replace=False, p=share / share.sum())
    else:
        after = rng.permutation(left)[:HALF]
    changed = conditions.CHANGES[name](x[after], rng)
    logits = conditions.outputs(model, changed)
    right = (logits.argmax(1).numpy() == y[after]).mean()
    clean = conditions.clean_entropies(folder, data, without)[before]
    entropy = np.concatenate([clean, conditions.entropies(logits)])
    return entropy, np.concatenate([x[before], changed]), float(right)


def looked_at(name: str, seed: int, data: Path, folder: Path) -> dict[str, Any]:
    """What one stream shows, kept in the folder."""
    path = folder / "streams-of-looks" / f"{name.replace(' ', '-')}-{seed}.npz"
    if not path.exists():
        entropy, images, right = stream(name, seed, data, folder)
        raw = conditions.bytes_of(images)
        inputs, both = (np.array(at, int) for at in (alarms_of_inputs(raw), alarms_of_both(entropy, raw)))
        conditions.save(path, partial(np.savez, entropy=entropy, right=right, inputs=inputs, both=both))
    with np.load(path) as file:
        return {name: file[name] for name in ("entropy", "inputs", "both", "right")}


def alarms(entropy: NDArray[np.float64]) -> list[int]:
    """After how many answers there was an alarm."""
    watch = Noticing()
    return [at for at, value in enumerate(entropy, 1) if watch.see(float(value)) is not None]


def alarms_of_inputs(raw: NDArray[np.uint8]) -> list[int]:
    """After how many samples there was an alarm: at the end of a block, as always."""
    watch = InputNoticing()
    return [end for end in range(BLOCK, len(raw) + 1, BLOCK) if watch.see(raw[end - BLOCK : end]) is not None]


def alarms_of_both(entropy: NDArray[np.float64], raw: NDArray[np.uint8]) -> list[int]:
    """As `serving.watch` takes them: after an alarm of either, both begin again."""
    answers, inputs = Noticing(), InputNoticing(SECOND_THRESHOLD)
    found = []
    for end in range(BLOCK, len(raw) + 1, BLOCK):
        block = slice(end - BLOCK, end)
        seen = [*answers.see_all(entropy[block].tolist()), *filter(None, [inputs.see(raw[block])])]
        if seen:
            found.append(end)
            answers.reset()
            inputs.reset()
    return found


def delay(at: list[int]) -> int | None:
    """Of the first alarm behind the change."""
    return next((place - HALF for place in at if place > HALF), None)


def changed(name: str, data: Path, folder: Path) -> dict[str, Any]:
    found = [looked_at(name, seed, data, folder) for seed in range(STREAMS)]
    of_entropy = [alarms(one["entropy"]) for one in found]
    of_inputs = [one["inputs"].tolist() for one in found]
    of_both = [one["both"].tolist() for one in found]
    return {
        "accuracy": float(np.mean([one["right"] for one in found])),
        **{f"both_{key}": value for key, value in told(of_both, WITHIN.get(name, 150)).items()},
        **{f"entropy_{key}": value for key, value in told(of_entropy, WITHIN.get(name, 150)).items()},
        **{f"inputs_{key}": value for key, value in told(of_inputs, WITHIN.get(name, 150)).items()},
    }


def told(streams: list[list[int]], within: int) -> dict[str, Any]:
    delays = [delay(at) for at in streams]
    seen = sorted(d for d in delays if d is not None)
    return {
        "median": float(np.median(seen)) if len(seen) > STREAMS / 2 else None,
        "worst": max(seen) if len(seen) == STREAMS else None,
        "found": len(seen) / STREAMS,
        "in_time": sum(d <= within for d in seen) / STREAMS,
        "false": sum(place <= HALF for at in streams for place in at),
    }


def unchanged(kind: str, data: Path, folder: Path) -> dict[str, float]:
    """False alarms in 10,000 clean answers, by entropy, by the inputs, and by both."""
    x, y = conditions.fresh(data)
    by_entropy = by_inputs = by_both = 0
    for seed in range(CLEAN_STREAMS):
        path = folder / "clean-of-looks" / f"{kind}-{seed}.npz"
        if not path.exists():
            rng = np.random.default_rng([seed, 7])
            places = (
                conditions.in_runs(y, CLEAN, RUN, rng) if kind == "runs" else rng.permutation(len(y))[:CLEAN]
            )
            entropy = conditions.clean_entropies(folder, data)[places]
            raw = conditions.bytes_of(x[places])
            inputs, both = len(alarms_of_inputs(raw)), len(alarms_of_both(entropy, raw))
            write = partial(np.savez, entropy=entropy, inputs=np.array(inputs), both=np.array(both))
            conditions.save(path, write)
        with np.load(path) as file:
            by_entropy += len(alarms(file["entropy"]))
            by_inputs += int(file["inputs"])
            by_both += int(file["both"])
    counts = {"entropy": by_entropy, "inputs": by_inputs, "both": by_both}
    return {name: count / CLEAN_STREAMS for name, count in counts.items()}


def table(result: dict[str, Any]) -> str:
    lines = [
        "| change | accuracy after it | by entropy: median, worst (found) | by inputs: median (found) "
        "| as served, by both: median, worst |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["changes"].items():
        shown = [_shown(row, look, worst=look != "inputs") for look in ("entropy", "inputs", "both")]
        lines.append(f"| {name} | {100 * row['accuracy']:.0f} % | {' | '.join(shown)} |")
    for kind, row in result["false"].items():
        lines.append(
            f"| none, {kind}: false alarms in 10,000 | | {row['entropy']:.2f} | {row['inputs']:.2f} "
            f"| {row['both']:.2f} |"
        )
    return "\n".join(lines)


def _shown(row: dict[str, Any], look: str, *, worst: bool) -> str:
    share = row[f"{look}_found"]
    if share <= 0.5:
        return "not noticed" if share == 0 else f"not noticed ({share:.0%})"
    said = f"{row[f'{look}_median']:.0f}"
    if worst and row[f"{look}_worst"] is not None:
        said += f", {row[f'{look}_worst']}"
    return said if share == 1 else f"{said} ({share:.0%})"


def missed(result: dict[str, Any]) -> list[str]:
    """What does not meet its target."""
    late = [
        f"{name}: {row['both_in_time']:.0%} in time"
        for name, row in result["changes"].items()
        if row["both_in_time"] < 1 and name != NOT_NOTICED
    ]
    return late + [
        f"{kind}: {row['both']:.2f} false alarms in 10,000"
        for kind, row in result["false"].items()
        if row["both"] > FALSE_MAX
    ]


def main() -> int:
    given = conditions.parser(__doc__).parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"changes": {}, "false": {}}
    for name in conditions.CHANGES:
        result["changes"][name] = changed(name, given.data, given.work)
        print(name, result["changes"][name], flush=True)
    for kind, said in (("independent", "independent samples"), ("runs", "runs of one class")):
        result["false"][said] = unchanged(kind, given.data, given.work)
    print(table(result))
    wrong = missed(result)
    print("\n".join(wrong) if wrong else "all targets are met")
    conditions.keep(result, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

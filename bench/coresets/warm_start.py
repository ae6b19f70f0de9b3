#!/usr/bin/env python3
"""What ten rounds of updates do to a model that a job of one contact made: gentle rounds, and usual ones.

    nice python bench/coresets/warm_start.py --data mnist.npz --out warm_start.jsonl

MNIST, two classes a node, ten nodes, CNN of 6k, 3 kB of samples each; then rounds of 20 steps as a job of
that kind plans them (`planning.step_size`): a fifth of the rate, no momentum of the rounds.  Beside them a
usual job's.  Messages are stc:0.02 both ways with error feedback.  Accuracy on all 10,000 test images after
each round; runs that are in the file are left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muster.algorithms import splits
from muster.compression.change import difference
from muster.compression.codecs.families import parse
from muster.compression.model import encode_with_feedback
from muster.compression.tensors import Layout
from muster.learning import local_training, params
from muster.learning import mnist as data
from muster.learning.mnist import Mnist
from muster.learning.sources.arrays import ArraySource, as_arrays
from muster.learning.sources.coresets import pool
from muster.planning.pool import STEPS
from muster.planning.step_size import GENTLE, of_round
from muster.protocol.parts import Recipe, StopRule
from muster.protocol.records import Job
from one_shot import BATCH, LR, NODES, Arrays, accuracy, shared

ROUNDS, ROUND_STEPS, CODEC = 10, 20, "stc:0.02"
LOSS_MAX = 0.5  # points, in ten rounds


def one(path: Path, seed: int, gentle: bool) -> list[float]:
    """Accuracies: of the start, and after each round."""
    torch.set_num_threads(1)
    x, y = data.load(path, "train")
    images = data._images(x)
    parts = splits.split(y, "classes:2", NODES, seed)
    own = [as_arrays((images[part], y[part]), "training_data") for part in parts]
    task = Mnist(model="cnn6k")
    model = params.fresh_model(task, seed)
    layout = params.layout_of(model)
    sent = [shared(images[p], y[p], 3000, 100 * seed + n)[0] for n, p in enumerate(parts)]
    weighed = [(coreset, float(len(part))) for coreset, part in zip(sent, parts, strict=True)]
    source = pool(weighed[1:], own[0], task.augment, weighed[0][1])
    local_training.train(task, model, source, steps=STEPS, lr=LR, batch=BATCH, seed=seed, cosine=True)
    job = Job("mnist", bytes(32), Recipe(LR, BATCH, 0, 0, server_momentum=None), StopRule(), 1, 20.0, b"")
    if gentle:
        job = Job(*(getattr(job, f) for f in job.__struct_fields__[:7]), share="always", one_shot=STEPS)
    momentum, factor = of_round(job, [CODEC] * NODES)
    found, head = [accuracy(model, path)], params.arrays_of(model, layout)
    head = {name: np.array(value) for name, value in head.items()}
    rounds = _Rounds(task, layout, own, momentum, factor * LR)
    for number in range(1, ROUNDS + 1):
        head = rounds.after(head, number, seed)
        params.load_into(model, layout, head)
        found.append(accuracy(model, path))
    return found


class _Rounds:
    """Rounds of all nodes, with what messages left out and the round before."""

    def __init__(
        self, task: Mnist, layout: Layout, own: list[ArraySource], momentum: float, lr: float
    ) -> None:
        self.task, self.layout, self.own, self.momentum, self.lr = task, layout, own, momentum, lr
        self.left: list[Any] = [None] * (len(own) + 1)
        self.before: Arrays | None = None

    def after(self, head: Arrays, number: int, seed: int) -> Arrays:
        total = {name: np.zeros_like(value, np.float64) for name, value in head.items()}
        samples = sum(source.size for source in self.own)
        for node, source in enumerate(self.own):
            model = params.fresh_model(self.task, 0)
            params.load_into(model, self.layout, head)
            local_training.train(
                self.task, model, source, steps=ROUND_STEPS, lr=self.lr, batch=BATCH,
                seed=1000 * seed + 20 * number + node,
            )  # fmt: skip
            update = difference(self.layout, head, params.arrays_of(model, self.layout))
            for name, value in self._sent(node, update, number).items():
                total[name] += value * (source.size / samples)
        if self.momentum and self.before is not None:
            for name in total:
                total[name] += self.momentum * (head[name].astype(np.float64) - self.before[name])
        change = {name: value.astype(np.float32) for name, value in total.items()}
        decoded = self._sent(len(self.own), change, number)
        self.before = head
        return {name: head[name] + decoded[name] for name in head}

    def _sent(self, sender: int, change: Any, number: int) -> Arrays:
        """What others decode of a message; what it left out joins the sender's next one."""
        message = encode_with_feedback(parse(CODEC), self.layout, change, self.left[sender], number)
        self.left[sender] = message.residual
        return message.decoded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON a run")
    given = parser.parse_args()
    known = given.out.read_text("utf-8").splitlines() if given.out.is_file() else []
    rows = [json.loads(line) for line in known]
    for seed in (1, 2, 3):
        for gentle in (True, False):
            if any((row["seed"], row["gentle"]) == (seed, gentle) for row in rows):
                continue
            found = one(given.data, seed, gentle)
            rows.append({"seed": seed, "gentle": gentle, "accuracy": found})
            with given.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(f"| rounds | seed | start | least in {ROUNDS} rounds | last | lost |\n|---|---|---|---|---|---|")
    for row in rows:
        start, *after = row["accuracy"]
        kind = f"gentle: {GENTLE:g} of the rate, at most {LOSS_MAX} lost" if row["gentle"] else "usual"
        least, last = min(after), after[-1]
        print(f"| {kind} | {row['seed']} | {start:.1f} | {least:.1f} | {last:.1f} | {start - least:.2f} |")


if __name__ == "__main__":
    main()

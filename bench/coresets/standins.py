"""What stand-ins are worth: a node that was met once, nodes that are away half of the time, two islands.

In one process, without a network: ten nodes train MNIST's cnn6k in a job of dense messages, with Muster's own
training, weights and server step, coresets by Muster's own kinds and coder, and as many steps for stand-ins
as the planner finds room for.

    python bench/coresets/standins.py --data MNIST.npz --seeds 1 2 3 --out bench/results/runs/standins.jsonl

What is in --out already is not run again.  Accuracy (percent, of the mean of the last five models, on the
whole test set): over all classes, and over those that one node alone has.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muster.algorithms import aggregation, merging, server_step, splits
from muster.compression.change import difference
from muster.coresets.coding.codec import decode, encode
from muster.coresets.kinds.make import make
from muster.coresets.spaces import default_space
from muster.learning import local_training, params
from muster.learning.mnist import Mnist
from muster.learning.sources.arrays import ArraySource, as_arrays
from muster.learning.sources.coresets import Pool, pool
from muster.planning.stand_ins import fitting

NODES, STEPS, BATCH, RATE, MOMENTUM = 10, 20, 16, 0.1, 0.5
RARE = (8, 9)  # classes that the last node alone has
JUDGED = 5  # last models, whose mean is judged
APART = 8  # rounds of two islands

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """`away(node, round)`: who misses it. `count` samples of `bits` a node stand in; 0: nothing does.

    `room`: steps for all stand-ins of a round together, in those of a node; None: for all that are wanted.
    """

    name: str
    rounds: int
    presence: str  # "always", "once", "never" (the last node), "half"
    count: int = 0
    bits: int = 1
    room: float | None = None


def cases() -> Iterator[Case]:
    yield Case("always present", 24, "always")
    yield Case("met once, 100 samples at 2 bits", 24, "never", 100, 2)
    yield Case("all nodes, half of the time", 20, "half")
    yield Case("all nodes, half of the time, 100 samples at 2 bits", 20, "half", 100, 2)
    yield Case("the same, room for one node's steps", 20, "half", 100, 2, 1.0)
    yield Case("never met", 24, "never")
    yield Case("met once, 300 samples at 1 bit", 24, "never", 300, 1)
    yield Case("two islands, the merge", APART, "islands")
    yield Case("two islands, the merge, 100 samples at 2 bits", APART, "islands", 100, 2)
    yield Case("met once, 100 samples at 2 bits, room for a quarter of the steps", 24, "never", 100, 2, 0.25)


@dataclass
class Field:
    """The nodes' data of one seed."""

    task: Mnist
    parts: list[ArraySource]
    raw: list[tuple[NDArray[np.float32], NDArray[np.int64]]]
    seed: int
    model: Any = field(init=False)

    def __post_init__(self) -> None:
        self.model = params.fresh_model(self.task, self.seed)
        self.layout = params.layout_of(self.model)

    def first(self) -> Arrays:
        return params.arrays_of(params.fresh_model(self.task, self.seed), self.layout)

    def shared(self, node: int, count: int, bits: int) -> tuple[Pool, int]:
        """What others train on in a node's place, and its bytes."""
        x, y = self.raw[node]
        space = default_space(x, y, 10)
        coreset = make("samples", x, y, count, space, bits, np.random.default_rng([self.seed, node]))
        message = encode(coreset)
        back = decode(message, space, samples_max=count, bytes_max=len(message))
        return pool([(back, float(len(y)))], self.parts[node], self.task.augment), len(message)


def field_of(data: Path, seed: int) -> Field:
    """The last node has all samples of RARE, a fifth of all; the others two classes each of the rest."""
    task = Mnist(model="cnn6k")
    task.data = data
    x, y = task.training_data()
    rest = np.flatnonzero(~np.isin(y, RARE))
    parts = [rest[p] for p in splits.split(y[rest], "classes:2", NODES - 1, seed)]
    parts.append(np.flatnonzero(np.isin(y, RARE)))
    whole = as_arrays((x, y), "training_data")
    return Field(task, [whole.at(p) for p in parts], [(x[p], y[p]) for p in parts], seed)


def away(case: Case, node: int, number: int, seed: int) -> bool:
    if case.presence in ("once", "never"):
        return node == NODES - 1
    if case.presence == "half":  # spans of five rounds, each node's half of them its own
        return bool(np.random.default_rng([seed, node]).permutation([0, 1, 0, 1])[number // 5 % 4])
    return False


def train(field: Field, data: Any, base: Arrays, steps: int, seed: int) -> Arrays:
    params.load_into(field.model, field.layout, base)
    local_training.train(
        field.task, field.model, data, steps=steps, lr=RATE, batch=BATCH, momentum=0.0, seed=seed
    )
    return difference(field.layout, base, params.arrays_of(field.model, field.layout))


def round_(
    field: Field, base: Arrays, previous: Arrays | None, number: int, work: Sequence[tuple[int, Any, int]]
) -> Arrays:
    """The model after a round of (node that it counts for, data, steps)."""
    total = aggregation.init(field.layout)
    meta = [aggregation.UpdateMeta(len(field.raw[node][1]), steps) for node, _, steps in work]
    weighed = aggregation.weights(meta)
    for (node, data, steps), share in zip(work, weighed.shares, strict=True):
        seed = field.seed * 1_000_003 + number * 1_009 + node
        total = aggregation.accumulate(total, train(field, data, base, steps, seed), share)
    after, _ = server_step.apply(
        server_step.init(previous), base, total, weighed.scale, server_momentum=MOMENTUM
    )
    return after


def line(field: Field, case: Case, gone: Any, pools: Mapping[int, Pool]) -> list[Arrays]:
    """The models of a job; `gone(node, round)`."""
    models, served = [field.first()], dict.fromkeys(range(NODES), -1)
    for number in range(case.rounds):
        here = [n for n in range(NODES) if not gone(n, number)]
        missed = sorted((n for n in pools if n not in here), key=lambda n: (served[n], n))
        room = len(missed) * STEPS if case.room is None else case.room * STEPS
        count, steps = fitting(room, STEPS, len(missed)) if missed else (0, 0)
        served.update(dict.fromkeys([*here, *missed[:count]], number))
        work = [(n, field.parts[n], STEPS) for n in here] + [(n, pools[n], steps) for n in missed[:count]]
        models.append(round_(field, models[-1], models[-2] if number else None, number, work))
    return models


def run(data: Path, case: Case, seed: int) -> dict[str, Any]:
    field = field_of(data, seed)
    made = {n: field.shared(n, case.count, case.bits) for n in range(NODES)} if case.count else {}
    pools, sizes = {n: p for n, (p, _) in made.items()}, [size for _, size in made.values()]
    if case.presence == "islands":
        sides = [line(field, case, lambda n, _, side=side: n % 2 != side, pools) for side in (0, 1)]
        found = [accuracy(field, side[-1]) for side in sides]
        merged = accuracy(field, merging.merge(field.layout, sides[0][-1], sides[1][-1], 0.5))
        figures = {"all": merged[0], "rare": merged[1], "islands": [round(f[0], 2) for f in found]}
    else:
        models = line(field, case, partial(lambda n, i: away(case, n, i, seed)), pools)
        overall, rare = accuracy(field, merging.mean(field.layout, models[-JUDGED:]))
        figures = {"all": overall, "rare": rare}
    return {"case": case.name, "seed": seed, "bytes": sizes[-1] if sizes else 0, **figures}


@torch.no_grad()
def accuracy(field: Field, model: Arrays) -> tuple[float, float]:
    """Percent of the test set, and of its RARE classes."""
    params.load_into(field.model, field.layout, model)
    x, y = field.task.evaluation_data()
    found = torch.cat([field.model(part).argmax(1) for part in torch.from_numpy(x).split(1000)]).numpy()
    right, rare = found == y, np.isin(y, RARE)
    return 100 * float(right.mean()), 100 * float(right[rare].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("standins.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = given.out.read_text("utf-8").splitlines() if given.out.exists() else []
    known = {(r["case"], r["seed"]): r for r in map(json.loads, lines)}
    for case in cases():
        rows = []
        for seed in given.seeds:
            if (case.name, seed) not in known:
                known[case.name, seed] = run(given.data, case, seed)
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(known[case.name, seed]) + "\n")
            rows.append(known[case.name, seed])
        figures = "; ".join(f"{r['all']:.1f} / {r['rare']:.1f}" for r in rows)
        size = f", {np.mean([r['bytes'] for r in rows]):.0f} bytes" if rows[0]["bytes"] else ""
        islands = "; islands " + ", ".join(str(r["islands"]) for r in rows) if "islands" in rows[0] else ""
        print(f"{case.name}{size}: {figures}{islands}", flush=True)


if __name__ == "__main__":
    main()

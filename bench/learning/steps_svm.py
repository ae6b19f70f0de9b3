"""The squared SVM of JSAC 2019 under a budget: fixed steps, the rule with its guard, their own controller.

Wang, Tuor, Salonidis, Leung, Makaya, He, Chan, IEEE JSAC 37(6), 2019, arXiv 1804.05271: MNIST, even against
odd; five nodes, batches of 100, rate 0.01, lambda 0.1, no momentum, their cases 1 to 4.  A step takes 1, a
round R beside its steps, and the budget is 57 (R + 10), at R = 10 their 15 s.  Judged is the loss on all
training images of the round's model with the lowest held-out loss; the last round does as many steps as there
is time for.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.learning import mnist
from muster.planning import steps as rule
from muster.protocol.parts import Steering

NODES, BATCH, RATE, DECAY, SIZE = 5, 100, 0.01, 0.1, 784
RATIOS = (1.0, 10.0, 100.0)
FIXED = (1, 2, 3, 5, 10, 20, 30, 50, 100)
CASES = (1, 2, 3, 4)
PHI, GAMMA, STEPS_MAX = 0.025, 10, 100  # theirs, for this model
REUSES = 3  # of a batch while a round has one step: their rule, without which noise hides beta

Vector = NDArray[np.float32]
Places = NDArray[np.int64]


def loss_of(w: Vector, x: Vector, y: Vector) -> float:
    missing = np.maximum(0, 1 - y * (x @ w))
    return float(DECAY / 2 * (w @ w) + 0.5 * np.mean(missing * missing))


def gradient(w: Vector, x: Vector, y: Vector) -> Vector:
    return np.asarray(DECAY * w - (np.maximum(0, 1 - y * (x @ w)) * y) @ x / len(y), np.float32)


def dealt(labels: Places, case: int) -> list[Places]:
    """Their four partitions: i.i.d., by label, everything everywhere, half of the labels each way."""
    places = np.arange(len(labels))
    if case == 3:
        return [places] * NODES
    if case == 1:
        node = places % NODES
    elif case == 2:
        node = labels % NODES
    else:
        first = math.ceil(NODES / 2)
        node = np.where(labels < 5, places % first, labels % (NODES - first) + first)
    return [np.flatnonzero(node == i) for i in range(NODES)]


@dataclass
class Data:
    x: Vector
    y: Vector
    labels: Places
    x_test: Vector
    y_test: Vector

    @classmethod
    def read(cls, path: Path) -> Data:
        (x, labels), (x_test, test) = (mnist.load(path, part) for part in ("train", "test"))
        images = [np.asarray(a.reshape(len(a), -1) / 255, np.float32) for a in (x, x_test)]
        sides = [np.where(a % 2 == 0, 1, -1).astype(np.float32) for a in (labels, test)]
        return cls(images[0], sides[0], labels, images[1], sides[1])


@dataclass(frozen=True)
class Reported:
    """What a round shows: each node's vector, and the batch of its last step."""

    vectors: list[Vector]
    last: list[Places]


class Fleet:
    """The nodes of one case and seed."""

    def __init__(self, data: Data, case: int, seed: int) -> None:
        self.data, self.seed = data, seed
        self.parts = dealt(data.labels, case)
        sizes = np.array([len(p) for p in self.parts], float)
        self.weights = sizes / sizes.sum()

    def round(self, w: Vector, steps: int, number: int, first: list[Places] | None = None) -> Reported:
        """`steps` steps of each node from `w`; the first one on the batch `first`, if it is given."""
        vectors, last = [], []
        for node, part in enumerate(self.parts):
            rng = np.random.default_rng([self.seed, number, node])
            chosen, own = part[:0], w.copy()
            for step in range(steps):
                chosen = part[rng.integers(0, len(part), BATCH)]
                if step == 0 and first is not None:
                    chosen = first[node]
                own -= RATE * gradient(own, self.data.x[chosen], self.data.y[chosen])
            vectors.append(own)
            last.append(chosen)
        return Reported(vectors, last)

    def mean(self, vectors: list[Vector]) -> Vector:
        return np.asarray(sum(p * v for p, v in zip(self.weights, vectors, strict=True)), np.float32)

    def held_out(self, w: Vector) -> float:
        return loss_of(w, self.data.x_test, self.data.y_test)

    def final(self, models: list[tuple[float, Vector]]) -> float:
        """The training loss of the model with the lowest held-out loss."""
        return loss_of(min(models, key=lambda m: m[0])[1], self.data.x, self.data.y)


@dataclass
class Steered:
    """The rule and its guard."""

    ratio: float
    state: Steering = field(default_factory=Steering)
    first: list[Places] | None = None

    def steps(self, left: float) -> int:
        return rule.steered_steps(self.ratio, self.state)

    def saw(self, fleet: Fleet, w: Vector, found: Reported, loss: float, steps: int) -> None:
        self.state = rule.watch(self.state, loss, steps)


@dataclass
class Jsac:
    """Their controller: the number of steps that minimises the bound G, with beta, rho and delta from
    gradients of the last step's batch at the node's own vector and at the mean."""

    ratio: float
    budget: float
    chosen: int = 1
    first: list[Places] | None = None
    used: int = 0

    def steps(self, left: float) -> int:
        return self.chosen

    def saw(self, fleet: Fleet, w: Vector, found: Reported, loss: float, steps: int) -> None:
        rho, beta, gradients = 0.0, 0.0, []
        for p, own, batch in zip(fleet.weights, found.vectors, found.last, strict=True):
            x, y = fleet.data.x[batch], fleet.data.y[batch]
            apart = float(np.linalg.norm(own - w))
            gradients.append(gradient(w, x, y))
            if apart > 1e-10:
                rho += p * abs(loss_of(own, x, y) - loss_of(w, x, y)) / apart
                beta += p * float(np.linalg.norm(gradient(own, x, y) - gradients[-1])) / apart
        mean = fleet.mean(gradients)
        delta = sum(
            p * float(np.linalg.norm(g - mean)) for p, g in zip(fleet.weights, gradients, strict=True)
        )
        most = min(GAMMA * self.chosen, STEPS_MAX)
        self.chosen = min(range(1, most + 1), key=lambda t: self._bound(t, rho, max(beta, 1e-5), delta))
        self.used = self.used + 1 if steps == 1 else 0
        self.first = found.last if self.used < REUSES else None
        self.used %= REUSES

    def _bound(self, tau: int, rho: float, beta: float, delta: float) -> float:
        h = delta / beta * math.expm1(tau * math.log1p(RATE * beta)) - RATE * delta * tau
        total = (self.budget - self.ratio - 1) * tau / (tau + self.ratio)
        a = total * RATE * PHI
        return (1 + math.sqrt(1 + 4 * total * total * PHI * rho * RATE * max(0.0, h) / tau)) / (
            2 * a
        ) + rho * max(0.0, h)


def budget(ratio: float) -> float:
    return 57 * (ratio + 10)


def controlled(fleet: Fleet, ratio: float, by: Steered | Jsac) -> tuple[float, float]:
    """(final loss, step-weighted mean of steps)."""
    w, left, number = np.zeros(SIZE, np.float32), budget(ratio), 0
    models, done = [(math.inf, w)], []
    while left >= ratio + 1:
        steps = min(by.steps(left), int(left - ratio))
        found = fleet.round(w, steps, number, by.first)
        w = fleet.mean(found.vectors)
        loss = fleet.held_out(w)
        models.append((loss, w))
        done.append(steps)
        by.saw(fleet, w, found, loss, steps)
        left, number = left - ratio - steps, number + 1
    return fleet.final(models), sum(s * s for s in done) / sum(done)


def fixed(fleet: Fleet, steps: int) -> dict[float, float]:
    """R -> the final loss with so many steps; rounds are shared over R but for the last one."""
    w = np.zeros(SIZE, np.float32)
    models = [(math.inf, w)]
    whole = {ratio: int(budget(ratio) / (ratio + steps)) for ratio in RATIOS}
    for number in range(max(whole.values())):
        w = fleet.mean(fleet.round(w, steps, number).vectors)
        models.append((fleet.held_out(w), w))
    finals = {}
    for ratio, rounds in whole.items():
        mine = models[: rounds + 1]
        rest = int(budget(ratio) - rounds * (ratio + steps) - ratio)
        if rest >= 1:
            last = fleet.mean(fleet.round(mine[-1][1], rest, rounds).vectors)
            mine = [*mine, (fleet.held_out(last), last)]
        finals[ratio] = fleet.final(mine)
    return finals


def case_of(fleet: Fleet) -> dict[str, dict[str, float]]:
    """R -> what each choice of steps ends with, and the step-weighted steps of the two that choose."""
    losses = {str(steps): fixed(fleet, steps) for steps in FIXED}
    rows = {}
    for ratio in RATIOS:
        row = {name: of[ratio] for name, of in losses.items()}
        row["rule"], row["rule steps"] = controlled(fleet, ratio, Steered(ratio))
        row["JSAC"], row["JSAC steps"] = controlled(fleet, ratio, Jsac(ratio, budget(ratio)))
        rows[f"{ratio:g}"] = {name: round(value, 6) for name, value in row.items()}
    return rows


def play(path: Path | None, seeds: list[int], state: Path | None) -> dict[str, Any]:
    """All cases and seeds; prints the table and gives its figures, in % over the best fixed number.

    What `state` has is not run again; without `path` nothing is run.
    """
    found: dict[tuple[int, int], dict[str, dict[str, float]]] = {}
    if state is not None and state.exists():
        said = [json.loads(line) for line in state.read_text("utf-8").splitlines() if '"svm"' in line]
        found = {(s["svm"]["case"], s["svm"]["seed"]): s["rows"] for s in said}
    data = None
    for seed, case in product(seeds if path is not None else (), CASES):
        if (case, seed) in found or path is None:
            continue
        data = data or Data.read(path)
        found[case, seed] = case_of(Fleet(data, case, seed))
        line = {"svm": {"case": case, "seed": seed}, "rows": found[case, seed]}
        if state is not None:
            with state.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        print(f"case {case}, seed {seed} done", flush=True)
    return table(found)


def table(found: dict[tuple[int, int], dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians over seeds, in % over the best fixed number of each seed."""
    names = [*map(str, FIXED), "rule", "JSAC"]
    print(f"| case | R | seeds | best | {' | '.join(names)} | rule per seed | steps of rule, JSAC |")
    print("|" + "---|" * (len(names) + 6))
    rows, worst = [], {"rule": -math.inf, "JSAC": -math.inf}
    for case, ratio in product(sorted({case for case, _ in found}), RATIOS):
        seeds = sorted(seed for of, seed in found if of == case)
        each = [found[case, seed][f"{ratio:g}"] for seed in seeds]
        best = [min(FIXED, key=lambda tau, row=row: row[str(tau)]) for row in each]  # type: ignore[misc]
        over = {n: [100 * (r[n] / r[str(b)] - 1) for r, b in zip(each, best, strict=True)] for n in names}
        worst = {n: max(worst[n], *over[n]) for n in worst}
        middle = {n: round(median(values), 2) for n, values in over.items()}
        steps = {n: round(median(r[f"{n} steps"] for r in each), 1) for n in worst}
        by_seed = [round(v, 2) for v in over["rule"]]
        row = {"case": case, "ratio": ratio, "seeds": seeds, "best": best, "over": middle}
        rows.append({**row, "rule": by_seed, "steps": steps})
        print(
            f"| {case} | {ratio:g} | {len(seeds)} | {', '.join(map(str, best))} | "
            + " | ".join(f"{middle[n]:.1f}" for n in names)
            + f" | {', '.join(map(str, by_seed))} | {steps['rule']}, {steps['JSAC']} |"
        )
    print("at worst, any seed, in %: " + ", ".join(f"{n} {value:.2f}" for n, value in worst.items()))
    return {"svm": rows, "worst": {n: round(value, 2) for n, value in worst.items()}}

"""The gate and the return, by simulation over stored answers of real candidates.

    python bench/adapt/gate.py --data mnist.npz [--work FOLDER] [--json FILE]

Gate: 100,000 times n held-out labels are drawn of a candidate's 2,500 paired answers; a candidate that is not
better must be accepted at most one time in 20, at every n.  Besides real candidates stand made ones that
are exactly as good as the base, with 2 and 10 % discordant answers, and for `not_worse` one that is exactly
2 points worse.

Return: 1,000 streams of labels in use.  A fall of 30 points must be returned within 60 labels in 9 of 10
streams; a model that is as good as the former one at most one time in 100, in 2,000 labels.  About a
minute on a quiet core.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import candidates
import conditions
import numpy as np
import torch
from candidates import Right

from muster.adaptation.gate import judge
from muster.adaptation.returning import should_return

DRAWS, STREAMS, LABELS = 100_000, 1000, 2000
SIZES = {"better": (20, 40, 100, 200, 500, 1000), "not_worse": (100, 300, 500, 1000, 2000)}


def accepted(mine: Right, base: Right, rule: str) -> dict[int, float]:
    """n -> share of the draws in which the candidate goes into use."""
    rng = np.random.default_rng(5)
    shares = {}
    parts = np.array([(mine & ~base).mean(), (~mine & base).mean(), (mine == base).mean()])
    for n in SIZES[rule]:
        drawn, times = np.unique(rng.multinomial(n, parts, DRAWS)[:, :2], axis=0, return_counts=True)
        verdicts = [judge(n, int(wins), int(losses), rule).accepted for wins, losses in drawn]
        shares[n] = float(times[verdicts].sum() / DRAWS)
    return shares


def made(discordant: float, difference: float, size: int = 2500) -> tuple[Right, Right]:
    """Answers of which `discordant` are right of one only, and the accuracies differ by `difference`."""
    losses = round(size * (discordant - difference) / 2)
    wins = round(size * (discordant + difference) / 2)
    mine, base = np.ones(size, bool), np.ones(size, bool)
    mine[:losses], base[losses : losses + wins] = False, False
    return mine, base


@cache
def returns(former: int, current: int) -> bool:
    return should_return(former, current)


def first_return(current: Right, former: Right, rng: np.random.Generator) -> int | None:
    """After how many labels the former model is back; None: not in 2,000."""
    rows = rng.integers(len(current), size=LABELS)
    only_former, only_current = former[rows] & ~current[rows], ~former[rows] & current[rows]
    counts = [0, 0]
    for at in np.flatnonzero(only_former | only_current):  # nothing changes at the others
        counts[int(only_current[at])] += 1
        if returns(*counts):
            return int(at) + 1
    return None


def thinned(current: Right, former: Right, points: float) -> Right:
    """The answers of a real candidate that is worse by more, with as many of the former's in their place
    that it is worse by `points`."""
    share = 1 - points / 100 / (former.mean() - current.mean())
    replaced = np.random.default_rng(8).random(len(current)) < share
    found: Right = np.where(replaced, former, current)
    return found


def returned(current: Right, former: Right) -> dict[str, Any]:
    rng = np.random.default_rng(6)
    found = [first_return(current, former, rng) for _ in range(STREAMS)]
    times = sorted(LABELS + 1 if at is None else at for at in found)
    return {
        "difference": float(current.mean() - former.mean()),
        "share": sum(at is not None for at in found) / STREAMS,
        "median": times[STREAMS // 2],
        "nine_of_ten": times[int(STREAMS * 0.9) - 1],
    }


def table_of_gate(result: dict[str, Any], rule: str) -> str:
    sizes = SIZES[rule]
    lines = [
        f"| candidate | difference | {' | '.join(map(str, sizes))} |",
        f"|---|---|{'---|' * len(sizes)}",
    ]
    for name, row in result["gate"].items():
        if rule in row:
            shares = " | ".join(f"{100 * row[rule][n]:.1f}" for n in sizes)
            lines.append(f"| {name} | {100 * row['difference']:+.1f} | {shares} |")
    return "\n".join(lines)


def table_of_return(result: dict[str, Any]) -> str:
    lines = [
        "| in use against the former | returned in 2,000 labels | median | 9 of 10 |",
        "|---|---|---|---|",
    ]
    for name, row in result["return"].items():
        times = [str(row[key]) if row[key] <= LABELS else "-" for key in ("median", "nine_of_ten")]
        lines.append(f"| {name} | {row['share']:.1%} | {' | '.join(times)} |")
    return "\n".join(lines)


def missed(result: dict[str, Any]) -> list[str]:
    found = []
    for name, row in result["gate"].items():
        for rule in ("better", "not_worse"):
            bound = {"better": 0.0, "not_worse": -0.02}[rule]
            if rule in row and row["difference"] <= bound and max(row[rule].values()) > 0.05:
                found.append(f"{name}: accepted by {rule} in {max(row[rule].values()):.1%}")
    fall = result["return"]["30 points worse"]
    if fall["nine_of_ten"] > 60:
        found.append(f"a fall of 30 points takes {fall['nine_of_ten']} labels in 9 of 10 streams")
    found += [
        f"{name}: returned in {row['share']:.1%}"
        for name, row in result["return"].items()
        if row["difference"] >= 0 and row["share"] > 0.01
    ]
    return found


def main() -> int:
    given = conditions.parser(__doc__).parse_args()
    torch.set_num_threads(1)
    real = {name: candidates.paired(name, given.data, given.work) for name in candidates.KINDS}
    for name, (mine, base) in real.items():
        print(f"{name}: {base.mean():.1%} -> {mine.mean():.1%}", flush=True)
    equal = {f"as good, {share:.0%} discordant": made(share, 0.0) for share in (0.02, 0.1)}
    pairs = {**real, **equal, "2 points worse, 6 % discordant": made(0.06, -0.02)}
    result: dict[str, Any] = {"gate": {}, "return": {}}
    for name, (mine, base) in pairs.items():
        row: dict[str, Any] = {"difference": float(mine.mean() - base.mean())}
        row |= {rule: accepted(mine, base, rule) for rule in SIZES}
        result["gate"][name] = row
        print(name, row, flush=True)
    current, former = real["half of the labels wrong"]
    falls = {f"{p} points worse": (thinned(current, former, p), former) for p in (1, 5, 10, 30)}
    falls["30 points worse, right in 3 % where the former is not"] = made(0.36, -0.3)
    bad = {"half of the labels wrong": (current, former)}
    for name, (current, former) in {**equal, **falls, **bad}.items():
        result["return"][name] = returned(current, former)
        print(name, result["return"][name], flush=True)
    print(table_of_gate(result, "better"), table_of_gate(result, "not_worse"), sep="\n\n")
    print(table_of_return(result))
    wrong = missed(result)
    print("\n".join(wrong) if wrong else "all targets are met")
    conditions.keep(result, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

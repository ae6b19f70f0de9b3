"""The story of adapting over several seeds: four cameras turn, their nodes adapt together.

    python bench/adapt/story.py --data MNIST.npz --seeds 0 1 2 3 4
    python bench/adapt/story.py --seeds 0 --variants plain            (the digits that come with Muster)

Real processes on the emulated network of `muster demo --story adapt`, with eight servers and requests to
all of them, in these variants:

* plain: the story as it is;
* cut: the bridge is cut in the middle of the job, and comes back;
* killed: the node that asked is killed in the middle of the job, and comes back; its server goes on.

Accuracies in percent of all ten digits, turned / upright, of pictures that no camera saw: before; each camera
alone with old samples (the mean); in use on the cameras (the worst of them); their labels in one place, with
and without old samples; in use on the other nodes.  What is in --out already is not run again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from muster.cli.demo.adapt.run import run_adapt
from muster.cli.demo.adapt.script import Interlude
from muster.cli.demo.preparation import DemoRequest
from muster.cli.demo.report import AdaptReport
from muster.cli.demo.stories import chosen
from muster.cli.demo.stories.partition import sides_of
from muster.emulation.scenario import Scenario
from muster.emulation.scenario_file import load
from muster.simulation.faults import Cut, Heal, Kill, Restart

VARIANTS = ("plain", "cut", "killed")
FAULT_ROUND, FAULT_S = 6, 30.0


def interlude_of(variant: str, scenario: Scenario) -> Interlude | None:
    """What happens in the middle of the job."""
    if variant == "cut":
        bridge = sides_of(scenario)
        a, b = bridge.a, bridge.b
        return Interlude(
            FAULT_ROUND, f"the bridge {a} - {b} is cut", lambda asker: (Cut(a, b),),
            FAULT_S, f"the bridge {a} - {b} is back", lambda asker: (Heal(a, b),),
        )  # fmt: skip
    if variant == "killed":
        return Interlude(
            FAULT_ROUND, "{asker}, which asked, is killed", lambda asker: (Kill(asker),),
            FAULT_S, "{asker} is started again", lambda asker: (Restart(asker),),
        )  # fmt: skip
    return None


async def play(variant: str, seed: int, data: Path | None) -> dict[str, Any]:
    """Run it: what is measured."""
    task = chosen.task("adapt", data)
    request = chosen.with_story("adapt", DemoRequest(load("field-8"), task, "iid", seed, data))
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        run = run_adapt(
            request, Path(folder), Path(folder) / "model", lambda frame: None, lambda text: None,
            interlude=interlude_of(variant, request.scenario),
        )  # fmt: skip
        async with run as outcome:
            pass
    assert outcome.adapt is not None
    job = outcome.job
    merges = sum(len(commit.parents) > 1 for commit in outcome.log.commits)
    row: dict[str, Any] = msgspec.to_builtins(outcome.adapt)
    more = {
        "job_s": round(outcome.wall_s, 1),
        "rounds": job.round,
        "merges": merges,
        "kilobytes": round(sum(outcome.bytes_by_link.values()) / 1e3),
    }
    return {**row, **more}


def judged(report: AdaptReport) -> dict[str, bool]:
    """What the story promises, each as it came out; the accuracies are promised of MNIST."""
    promises = {
        "no request failed": report.failed == 0,
        "no answer is mixed": report.mixed == 0,
        "the bad candidate is refused": bool(report.refused),
        "it returns within 60 labels": 0 < report.returned_after <= 60,
    }
    if (figures := report.figures) is None:
        return promises
    cameras = [figures.in_use[name] for name in report.cameras]
    others = [model for name, model in figures.in_use.items() if name not in report.cameras]
    worst = min(model.turned for model in cameras)
    return promises | {
        "turned: at least 84 %": worst >= 0.84,
        "turned: at most 3 points below pooled": worst >= figures.pooled.turned - 0.03,
        "upright: at least 94 %": min(model.upright for model in cameras) >= 0.94,
        "the others lose nothing": all(model == figures.before for model in others),
    }


def done(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []


def table(rows: Sequence[dict[str, Any]]) -> None:
    """A line a run, then what is not as promised."""
    print(
        "| variant | seed | before | alone | together, worst | pooled | pooled, no old | others | requests,"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        report = msgspec.convert(row, AdaptReport)
        figures = report.figures
        if figures is None:
            continue
        cameras = [figures.in_use[name] for name in report.cameras]
        others = [model for name, model in figures.in_use.items() if name not in report.cameras]
        both = [
            f"{100 * turned:.1f} / {100 * upright:.1f}"
            for turned, upright in [
                (figures.before.turned, figures.before.upright),
                (figures.alone.turned, figures.alone.upright),
                (min(m.turned for m in cameras), min(m.upright for m in cameras)),
                (figures.pooled.turned, figures.pooled.upright),
                (figures.pooled_without_replay.turned, figures.pooled_without_replay.upright),
                (min(m.turned for m in others), min(m.upright for m in others)),
            ]
        ]
        requests = f"{report.requests}, {report.failed}, {report.mixed}"
        cells = [row["variant"], row["seed"], *both, requests, report.returned_after, f"{report.wall_s:.0f}"]
        print(f"| {' | '.join(map(str, cells))} |")
    for row in rows:
        report = msgspec.convert(row, AdaptReport)
        for promise in [name for name, kept in judged(report).items() if not kept]:
            print(f"not so in {row['variant']}, seed {row['seed']}: {promise}")
    worst = [
        min(row["figures"]["in_use"][n]["turned"] for n in row["cameras"]) for row in rows if row["figures"]
    ]
    if worst:
        print(f"worst camera, turned: median {100 * statistics.median(worst):.1f} of {len(worst)} runs")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--out", type=Path, default=Path("bench/results/runs/adapt_story.jsonl"))
    arguments = parser.parse_args()
    task = chosen.task("adapt", arguments.data)
    known = {(row["task"], row["variant"], row["seed"]) for row in done(arguments.out)}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    data = arguments.data.absolute() if arguments.data else None
    for seed, variant in product(arguments.seeds, arguments.variants):
        if (task, variant, seed) in known:
            continue
        began_s = time.monotonic()
        try:
            found = asyncio.run(play(variant, seed, data))
        except Exception as error:
            print(f"{variant}, seed {seed}: {error}", flush=True)
            continue
        row = {
            "task": task,
            "variant": variant,
            "seed": seed,
            **found,
            "in_all_s": round(time.monotonic() - began_s),
        }
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    chosen_rows = [r for r in done(arguments.out) if r["task"] == task and r["seed"] in arguments.seeds]
    table([r for r in chosen_rows if r["variant"] in arguments.variants])


if __name__ == "__main__":
    main()

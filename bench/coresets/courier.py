"""The story of the courier over several seeds: what stand-ins are worth for nodes that are met once.

    python bench/coresets/courier.py --data MNIST.npz --seeds 0 1 2 3 4
    python bench/coresets/courier.py --seeds 0 --variants plain            (the digits that come with Muster)

Real processes on the emulated network of `muster demo --story courier`, in these variants:

* plain: the story as it is, with updates alone and with stand-ins;
* present: all eight nodes in reach of each other all the time, by updates;
* killed: with stand-ins; the coordinator is killed in the middle, and is back some rounds later;
* merged: with stand-ins; the camp is cut in two after the courier is back, both halves train, and are merged.

Accuracy in percent, of all classes and of the four that only the posts have.  What is in --out already is not
run again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from muster.cli.demo.outcome import DemoOutcome
from muster.cli.demo.preparation import Act, DemoRequest
from muster.cli.demo.run import run_demo
from muster.cli.demo.stories import chosen, courier
from muster.cli.demo.stories.courier_figures import courier_figures
from muster.cli.demo.stories.partition import Scene
from muster.cli.demo.stories.story import Story
from muster.emulation.scenario_file import load
from muster.simulation.faults import Cut, Heal, Kill, Restart

VARIANTS = ("plain", "present", "killed", "merged")
ROUNDS = 70
FAULT_ROUND, APART = 40, 8  # the camp's round when a fault comes, and rounds until it is over
PATIENCE_S = 12.0
NEAR, FAR = ("alpha", "bravo", "charlie"), ("delta", "echo", "foxtrot")


def request_of(variant: str, seed: int, data: Path | None) -> DemoRequest:
    """The demo of a variant."""
    scenario = load(courier.SCENARIO)
    options: dict[str, Any] = {"seed": seed, "rounds": ROUNDS, "patience_s": PATIENCE_S}
    plain = DemoRequest(scenario, chosen.task("courier", data), courier.split(scenario), seed, data, options)
    request = chosen.with_story("courier", plain)
    assert request.story is not None
    if variant == "present":
        still = replace(request.story, scenes=(), opening=(), courier=None)
        return replace(request, story=still, acts=(Act("everybody present, by processes"),))
    if variant == "killed":
        return replace(request, story=killed(request.story), acts=courier.ACTS[-1:])
    return (
        replace(request, story=merged(request.story), acts=courier.ACTS[-1:])
        if variant == "merged"
        else request
    )


def killed(story: Story) -> Story:
    """The asker, which coordinates, is killed in the middle, and comes back."""
    asker = story.near[0]
    scenes = (
        Scene(FAULT_ROUND, 0, FAULT_ROUND, (Kill(asker),), f"{asker} is killed"),
        Scene(FAULT_ROUND + APART, 0, FAULT_ROUND + APART, (Restart(asker),), f"{asker} is started again"),
    )
    return replace(story, scenes=(*story.scenes, *scenes))


def merged(story: Story) -> Story:
    """The camp is cut in two halves, which train on and meet again."""
    links = list(product(NEAR, FAR))
    back = FAULT_ROUND + APART
    scenes = (
        Scene(FAULT_ROUND, 0, FAULT_ROUND, tuple(Cut(a, b) for a, b in links), "the camp is cut in two"),
        Scene(back, back, back + APART, tuple(Heal(a, b) for a, b in links), "both halves meet again"),
    )
    count = len(story.scenes)
    both = replace(story, near=NEAR, far=FAR[:2], scenes=(*story.scenes, *scenes))
    return replace(both, divided=count + 1, whole=count + 2)


async def play(request: DemoRequest, say: Any) -> dict[str, Any]:
    """Run it: what is measured."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        async with run_demo(
            request, Path(folder), Path(folder) / "model", lambda frame: None, say
        ) as outcome:
            pass
        found = await courier_figures(request, outcome.acts)
    if isinstance(found, str):
        raise RuntimeError(found)
    rows = {
        row.title: [round(100 * row.accuracy, 2), round(100 * row.accuracy_posts, 2)] for row in found.rows
    }
    return {"accuracy": rows, "classes": found.classes, **counts(request, outcome)}


def counts(request: DemoRequest, outcome: DemoOutcome) -> dict[str, Any]:
    posts = courier.cast(request.scenario).posts
    given = {c.node: c for c in outcome.job.contributions}
    return {
        "bytes": {post: given[post].shared_bytes for post in posts if post in given},
        "stood_in": {post: given[post].stood_in for post in posts if post in given},
        "own": {post: given[post].updates_counted for post in posts if post in given},
        "merges": sum(len(commit.parents) > 1 for commit in outcome.log.commits),
        "coordinators": sorted({c.coordinator for c in outcome.log.commits if c.coordinator}),
        "rounds": outcome.job.round,
        "kilobytes": round(sum(outcome.bytes_by_link.values()) / 1e3),
        "seconds": [round(act.wall_s, 1) for act in outcome.acts],
    }


def done(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []


def table(rows: Sequence[dict[str, Any]]) -> None:
    """A line a variant and model: the median, and each seed."""
    print("| variant | model | all classes, median | seeds | classes of the posts, median | seeds |")
    print("|---|---|---|---|---|---|")
    for variant in VARIANTS:
        here = [row for row in rows if row["variant"] == variant]
        for title in dict.fromkeys(title for row in here for title in row["accuracy"]):
            of_all, of_posts = ([row["accuracy"][title][k] for row in here] for k in (0, 1))
            print(
                f"| {variant} | {title} | {statistics.median(of_all):.1f} | {listed(of_all)} "
                f"| {statistics.median(of_posts):.1f} | {listed(of_posts)} |"
            )


def listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--out", type=Path, default=Path("bench/results/runs/courier.jsonl"))
    parser.add_argument("--quiet", action="store_true", help="do not print what happens")
    arguments = parser.parse_args()
    task = chosen.task("courier", arguments.data)
    known = {(row["task"], row["variant"], row["seed"]) for row in done(arguments.out)}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for seed, variant in product(arguments.seeds, arguments.variants):
        if (task, variant, seed) in known:
            continue
        began_s = time.monotonic()
        data = arguments.data.absolute() if arguments.data else None
        try:
            row = asyncio.run(play(request_of(variant, seed, data), lambda text: None))
        except Exception as error:
            print(f"{variant}, seed {seed}: {error}", flush=True)
            continue
        found = {
            "task": task,
            "variant": variant,
            "seed": seed,
            **row,
            "in_all_s": round(time.monotonic() - began_s),
        }
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        if not arguments.quiet:
            print(json.dumps(found), flush=True)
    table([row for row in done(arguments.out) if row["task"] == task and row["seed"] in arguments.seeds])


if __name__ == "__main__":
    main()

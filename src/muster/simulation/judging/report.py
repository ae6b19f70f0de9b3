"""Many seeds: their verdicts in a file that a run can be continued from, and what they say together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import msgspec

from muster.simulation.judging.check import Verdict, check

STORY_KEPT = 300  # lines of a failing seed's story in the file


@dataclass(frozen=True)
class Summary:
    """Seeds in which no fault took effect while a job ran are left out of all but `seeds`."""

    seeds: int
    counted: int
    held: int
    failed: tuple[int, ...]
    faults: int
    mean_s: float  # of one core, a seed
    median_s: float
    worst_s: float
    worst_seed: int


def summary(verdicts: Iterable[Verdict]) -> Summary:
    """What the verdicts say together. Failing seeds are never left out."""
    every = list(verdicts)
    counted = [v for v in every if v.counts or not v.good]
    seconds = [v.seconds for v in counted] or [0.0]
    worst = max(counted, key=lambda v: v.seconds, default=None)
    return Summary(
        seeds=len(every),
        counted=len(counted),
        held=sum(v.good for v in counted),
        failed=tuple(sorted(v.seed for v in counted if not v.good)),
        faults=sum(v.faults_in_job for v in counted),
        mean_s=fmean(seconds),
        median_s=median(seconds),
        worst_s=max(seconds),
        worst_seed=worst.seed if worst else 0,
    )


def sentence(s: Summary) -> str:
    """The summary as a sentence."""
    left_out = s.seeds - s.counted
    text = (
        f"{s.held} of {s.counted} seeds hold; {left_out} more drew no fault while a job ran and do not "
        f"count. {s.faults} faults took effect. "
        f"A seed takes {s.mean_s:.2f} s of one core on average, {s.median_s:.2f} s in the median, "
        f"{s.worst_s:.2f} s at worst (seed {s.worst_seed})."
    )
    return text + (f" Failing: {', '.join(map(str, s.failed))}." if s.failed else "")


def load(path: Path) -> list[Verdict]:
    """The verdicts in a file; a line that was cut off when a run was killed is left out."""
    if not path.exists():
        return []
    verdicts = {}
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            verdict = msgspec.json.decode(line, type=Verdict)
            verdicts[verdict.seed] = verdict
    return list(verdicts.values())


def append(path: Path, verdict: Verdict) -> None:
    """Add a line; only failing seeds keep the end of their story."""
    kept = [] if verdict.good else verdict.story[-STORY_KEPT:]
    line = msgspec.json.encode(msgspec.structs.replace(verdict, story=kept)) + b"\n"
    if path.exists():
        whole = path.read_bytes()
        if not whole.endswith(b"\n"):  # the run before was killed in the midst of a line
            path.write_bytes(whole[: whole.rfind(b"\n") + 1])
    with path.open("ab") as file:
        file.write(line)


def verdicts(seeds: Iterable[int], hours: float, jobs: int) -> Iterator[Verdict]:
    """Run seeds, in `jobs` processes; in the order in which they are done."""
    if jobs == 1:
        yield from (check(seed, hours) for seed in seeds)
        return
    with ProcessPoolExecutor(min(jobs, os.cpu_count() or 1)) as pool:
        running = [pool.submit(check, seed, hours) for seed in seeds]
        try:
            for done in as_completed(running):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)

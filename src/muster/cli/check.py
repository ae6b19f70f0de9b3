"""`muster check`: random faults in simulated networks, judged by invariants (docs/reliability.md)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from muster.simulation.check import Verdict


@click.command()
@click.option("--seed", type=click.IntRange(0), default=0, help="The first seed.")
@click.option("--seeds", type=click.IntRange(1), default=20, help="How many seeds.")
@click.option("--hours", type=click.FloatRange(0.1), default=1.0, help="Simulated hours a seed.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="Processes to use.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a seed.")
def check(seed: int, seeds: int, hours: float, jobs: int, as_json: bool) -> None:
    """Break a simulated network at random and check that nothing trained is lost.

    The same seed gives the same run. Exit code 19 when a seed fails; its story is printed.
    """
    good = faults = drawn = 0
    seconds: list[float] = []
    for verdict in _verdicts(range(seed, seed + seeds), hours, jobs):
        good += verdict.good
        drawn += verdict.faults > 0
        faults += verdict.faults
        seconds.append(verdict.seconds)
        _say(verdict, as_json)
    mean_s, worst_s = sum(seconds) / len(seconds), max(seconds)
    if not as_json:
        click.echo(
            f"{good} of {seeds} seeds hold ({drawn} drew faults, {faults} in all); "
            f"a seed takes {mean_s:.2f} s of one core, the slowest {worst_s:.2f} s"
        )
    if good < seeds:
        sys.exit(19)


def _verdicts(seeds: range, hours: float, jobs: int) -> Iterable[Verdict]:
    from muster.simulation.check import check as check_seed

    if jobs == 1:
        return (check_seed(s, hours) for s in seeds)
    pool = ProcessPoolExecutor(min(jobs, os.cpu_count() or 1))
    return pool.map(check_seed, seeds, [hours] * len(seeds), chunksize=4)


def _say(verdict: Verdict, as_json: bool) -> None:
    from muster.simulation.check import story

    if as_json:
        fields = msgspec.to_builtins(verdict)
        del fields["story"]
        click.echo(json.dumps(fields))
    elif not verdict.good:
        click.echo(story(verdict))

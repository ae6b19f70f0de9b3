"""`muster check`: random faults in simulated networks, judged by invariants (docs/reliability.md)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from muster.simulation.judging.check import Verdict


@click.command()
@click.option("--seed", type=click.IntRange(0), default=0, help="The first seed.")
@click.option("--seeds", type=click.IntRange(1), default=20, help="How many seeds.")
@click.option("--hours", type=click.FloatRange(0.1), default=1.0, help="Simulated hours a seed.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="Processes to use.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a seed.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add a JSON line for each seed to this file; seeds that it has already are not run again.",
)
def check(seed: int, seeds: int, hours: float, jobs: int, as_json: bool, report: Path | None) -> None:
    """Break a simulated network at random and check that nothing trained is lost.

    The same seed gives the same run. Exit code 19 when a seed fails; its story is printed.
    """
    from muster.simulation.judging.report import append, load, sentence, summary, verdicts

    wanted = range(seed, seed + seeds)
    known = [v for v in load(report) if v.seed in wanted and v.hours == hours] if report else []
    done = {v.seed for v in known}
    for verdict in verdicts([s for s in wanted if s not in done], hours, jobs):
        known.append(verdict)
        if report:
            append(report, verdict)
        _say(verdict, as_json)
    if not as_json:
        click.echo(sentence(summary(known)))
    if not all(v.good for v in known):
        sys.exit(19)


def _say(verdict: Verdict, as_json: bool) -> None:
    from muster.simulation.judging.check import story

    if as_json:
        fields = msgspec.to_builtins(verdict)
        del fields["story"]
        click.echo(json.dumps(fields))
    elif not verdict.good:
        click.echo(story(verdict))

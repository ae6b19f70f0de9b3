"""`muster track`: a job's rounds, as they are done, in the tools that people already use."""

from __future__ import annotations

import click

from muster.cli.output import emit, json_option, node_option


@click.command()
@click.argument("job")
@click.option(
    "--to",
    "places",
    metavar="KIND:PLACE",
    required=True,
    multiple=True,
    help="tensorboard:DIR, mlflow:URI, csv:FILE, jsonl:FILE ('-': standard output). May be given again.",
)
@click.option(
    "--follow/--once",
    "following",
    default=True,
    help="Until the job ends (the default), or only the rounds that are done.",
)
@node_option
@json_option
def track(job: str, places: tuple[str, ...], following: bool, node: str | None, as_json: bool) -> None:
    """Write JOB's rounds to files and trackers: metrics, participants, steps, bytes, contributions.

    Each place holds a round once: what was missed is caught up with, also when the command is run again.
    """
    from muster.cli.track.loop import track as run
    from muster.cli.track.target import opened
    from muster.node.api.client import choose

    targets = [(place, opened(place)) for place in dict.fromkeys(places)]

    def say(sentence: str) -> None:
        click.echo(sentence, err=True)

    seen, tracked = run(choose(node), job, targets, once=not following, say=say)
    if as_json:
        done = {t.name: {"round": t.reader.number, "written": t.written} for t in tracked}
        emit({"job": seen.job, "state": seen.state, "to": done})
        return
    for t in tracked:
        say(f"{t.name}: {t.written} rounds written, up to round {t.reader.number}")
    say(f"job {seen.job[:8]} is {seen.state}: {seen.why}")

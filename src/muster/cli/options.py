"""Options that `muster train` and `muster demo` share: when a job ends and how nodes train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from muster.cli.output import Energy, Size
from muster.protocol.validation.limits import (
    AGE_MAX_S,
    AVERAGE_MAX,
    BATCH_MAX,
    LR_MAX,
    MOMENTUM_MAX,
    NODES_MAX,
    PATIENCE_MAX_S,
    SEED_MAX,
    SEED_MIN,
    SHARE,
    STEPS_MAX,
    WIDTH_MIN,
)

F = TypeVar("F", bound=Callable[..., Any])


def stop_options(command: F) -> F:
    """--rounds, --target, --stop-when and the budgets: the job ends at the first of them."""
    for option in reversed(
        (
            click.option("--rounds", type=click.IntRange(1, 1_000_000), help="End after this many rounds."),
            click.option(
                "--target",
                metavar="[METRIC=]VALUE",
                help="End at this value of the task's first metric, such as 0.95, or of another one, such as "
                "loss=0.2.",
            ),
            click.option(
                "--stop-when",
                metavar="'no better for N'",
                help="End when the task's first metric got no better in N rounds.",
            ),
            click.option("--seconds", type=click.FloatRange(1, AGE_MAX_S), help="End after this time."),
            click.option(
                "--bytes",
                "bytes_max",
                type=Size(),
                help="End when updates and models of so much were sent, such as 20MB.",
            ),
            click.option(
                "--bytes-node",
                type=Size(),
                help="So much for any one node: who has spent it is asked for no more; the job ends when too "
                "few are left.",
            ),
            click.option(
                "--joules",
                type=Energy(),
                help="End when all nodes together have used so much energy, such as 500 (joules), 12kJ or "
                "20Wh.",
            ),
            click.option("--joules-node", type=Energy(), help="As --bytes-node, of energy."),
            click.option(
                "--stopper",
                "stoppers",
                multiple=True,
                metavar="NODE",
                help="A node that may stop the job as this one may; may be given several times.",
            ),
        )
    ):
        command = option(command)
    return command


class Steps(click.ParamType[int | str]):
    """A number of steps, or "auto"."""

    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "auto":
            return "auto"
        return click.IntRange(1, STEPS_MAX).convert(value, param, ctx)


def recipe_options(command: F) -> F:
    """--lr, --steps, --batch, --momentum, --codec, --seed, --min-nodes, --patience, --linger, --share and
    others."""
    for option in reversed(
        (
            click.option(
                "--lr",
                type=click.FloatRange(0, LR_MAX, min_open=True),
                help="Learning rate. [default: found by a short test]",
            ),
            click.option(
                "--steps",
                type=Steps(),
                help="Local steps a node and round; 'auto' goes by what a round costs.  [default: auto]",
            ),
            click.option("--batch", type=click.IntRange(1, BATCH_MAX), help="Samples a step."),
            click.option("--momentum", type=click.FloatRange(0, MOMENTUM_MAX)),
            click.option("--codec", help="How updates are compressed; 'auto' goes by the links."),
            click.option("--down-codec", help="How commits are compressed, if other than updates."),
            click.option(
                "--lr-end",
                type=click.FloatRange(0, 1),
                help="The rate falls to this fraction of --lr by the last of --rounds.",
            ),
            click.option(
                "--server-momentum",
                type=click.FloatRange(0, MOMENTUM_MAX),
                help="Share of the last round's change that a round repeats.",
            ),
            click.option(
                "--average",
                type=click.IntRange(1, AVERAGE_MAX),
                help="End with the mean of the last so many models, if it is better than the last one.",
            ),
            click.option(
                "--width",
                type=click.FloatRange(WIDTH_MIN, 1),
                help="Train a smaller model, with this fraction of the channels of each layer.",
            ),
            click.option(
                "--one-shot",
                type=Steps(),
                is_flag=False,
                flag_value="auto",
                metavar="[STEPS]",
                help="A job of one contact: nodes send samples, and one of them trains on all. Then the job "
                "ends, unless --rounds or another limit says how it goes on.",
            ),
            click.option(
                "--prune",
                metavar="WIDTH[@ROUND]",
                help="Keep this fraction of the channels of each layer after that round, those with the "
                "largest weights; gradually with 0.5@8..16. [default: after a third of --rounds]",
            ),
            click.option(
                "--seed",
                type=click.IntRange(SEED_MIN, SEED_MAX),
                help="Of everything that is drawn at random.",
            ),
            click.option(
                "--min-nodes", type=click.IntRange(1, NODES_MAX), help="Wait for this many before round 1."
            ),
            click.option(
                "--patience",
                "patience_s",
                type=click.FloatRange(0.1, PATIENCE_MAX_S),
                help="Seconds without a sign of life that are normal; usually 20.",
            ),
            click.option(
                "--linger",
                "linger_s",
                type=click.FloatRange(0),
                help="Seconds that the last round waits at most for nodes that come and go. "
                "[default: 5 x --patience; none beyond --seconds]",
            ),
            click.option(
                "--share",
                type=click.Choice(SHARE),
                help="Ask nodes for samples by which others can stand in for them, or help this node; each "
                "node's policy says what it gives.  [default: none]",
            ),
            click.option(
                "--share-bytes",
                type=Size(),
                help="At most so much of each node.  [default: 10kB; of this one what its helpers are worth]",
            ),
        )
    ):
        command = option(command)
    return command


def job_request(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the control op `train` out of a command's; what was not given is left out."""
    names = (
        "rounds",
        "target",
        "stop_when",
        "seconds",
        "bytes_node",
        "joules",
        "joules_node",
        "lr",
        "steps",
        "batch",
        "momentum",
        "codec",
        "down_codec",
        "lr_end",
        "server_momentum",
        "average",
        "width",
        "one_shot",
        "prune",
        "seed",
        "min_nodes",
        "patience_s",
        "linger_s",
        "share",
        "share_bytes",
        "stoppers",
    )
    request = {name: given.get(name) for name in names} | {"bytes": given.get("bytes_max")}
    return {key: value for key, value in request.items() if value not in (None, ())}

"""A request for a job, and the recipe and the stop rule that it becomes."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from muster.compression.codec import CodecError
from muster.compression.codecs.families import parse
from muster.errors import MusterError
from muster.job.stop_rule import ROUNDS_MAX
from muster.learning.recipes import defaults
from muster.planning.pool import STEPS
from muster.protocol.parts import Metric, Prune, Recipe, StopRule, Target
from muster.protocol.records import Job
from muster.protocol.validation.checks import Invalid
from muster.protocol.validation.figures import target as check_target
from muster.protocol.validation.limits import (
    AGE_MAX_S,
    AVERAGE_MAX,
    BATCH_MAX,
    FIGURE_MAX,
    ID_BYTES,
    LR_MAX,
    MOMENTUM_MAX,
    NODES_MAX,
    PATIENCE_MAX_S,
    SEED_MAX,
    SEED_MIN,
    SHARE,
    SHARED_BYTES_MAX,
    STEPS_MAX,
    TARGET_MAX,
    TOTAL_MAX,
    WIDTH_MIN,
)
from muster.protocol.validation.validate import validate

_PRUNE = re.compile(r"(?P<width>\d*\.?\d+)(@(?P<first>\d{1,6})(\.\.(?P<last>\d{1,6}))?)?")
PRUNE_ROUND = 8
_NO_BETTER = re.compile(r"no better for (\d{1,6})")
DEFAULT_PATIENCE_S = 20.0
LINGER_MAX_S = 7 * 86_400.0
PATH_CHARS_MAX = 4096
SHOWN_MAX = 40  # characters of what was given, in an error
FRESH_MAX, FRESH_CHARS_MAX = 64, 256
AUTO = "auto"  # instead of a number: the planner chooses
RECIPE_FIELDS = (
    "lr", "batch", "steps", "seed", "momentum", "codec", "down_codec", "lr_end", "server_momentum",
    "average",
)  # fmt: skip

LIMITS = ("rounds", "seconds", "bytes", "bytes_node", "joules", "joules_node")  # as `StopRule` names them


class Request(msgspec.Struct, forbid_unknown_fields=True, rename={"start": "from"}):
    """What `train` may say; None takes the task's default."""

    task: str
    rounds: int | None = None
    target: float | str | None = None
    stop_when: str | None = None
    seconds: float | None = None
    bytes: int | None = None
    bytes_node: int | None = None
    joules: float | None = None
    joules_node: float | None = None
    lr: float | None = None
    batch: int | None = None
    steps: int | Literal["auto"] | None = None
    seed: int | None = None
    momentum: float | None = None
    codec: str | None = None
    down_codec: str | None = None
    lr_end: float | None = None
    server_momentum: float | None = None
    average: int | None = None
    min_nodes: int = 1
    patience_s: float = DEFAULT_PATIENCE_S
    linger_s: float | None = None
    share: str = "none"
    share_bytes: int | None = None
    start: str | None = None
    one_shot: int | Literal["auto"] | None = None  # steps on the samples of all; the job asks for these
    prune: str | None = None  # as `prune_of` reads it
    width: float | None = None  # of the model; None: that of the commit it begins from, else 1
    stoppers: tuple[str, ...] = ()  # names or ids of nodes that may stop it, too
    fresh: tuple[str, ...] = ()  # patterns of tensors that are not taken from the start's file


def requested(arguments: dict[str, Any]) -> Request:
    """What a client asks for, checked as far as that goes without the task. Raises MusterError."""
    try:
        request = msgspec.convert(arguments, Request)
    except msgspec.ValidationError as error:
        raise MusterError("usage", f"the job is not well described: {error}") from error
    check(request, recipe_of(request), stop_rule(request))
    return request


def settled(
    request: Request, known: dict[str, Any], metrics: tuple[Metric, ...]
) -> tuple[Request, Recipe, StopRule]:
    """A request with what its task takes by itself (`Task.defaults`) and judges by. Raises MusterError."""
    request = with_defaults(request, known)
    recipe, stop = recipe_of(request), stop_rule(request)
    check(request, recipe, stop)
    return request, recipe, with_target(stop, request.target, metrics)


def with_defaults(request: Request, known: dict[str, Any]) -> Request:
    """`request` with what its task takes unless it is said (`Task.defaults`). Raises MusterError.

    The task's rounds count only where nothing says when the job ends.
    """
    fields = ({*RECIPE_FIELDS} - {"seed"}) | {"rounds"}  # the seed has made the first model already
    odd = sorted(known.keys() - fields)
    if odd:
        names = ", ".join(sorted(fields))
        raise MusterError("task_fault", f"the task's defaults have {odd[0]!r}: they may have {names}")
    ends = (
        request.target, request.stop_when, request.one_shot, *(getattr(request, name) for name in LIMITS)
    )  # fmt: skip
    given = {name: value for name, value in known.items() if getattr(request, name) is None}
    if any(end is not None for end in ends):
        given.pop("rounds", None)
    try:
        return msgspec.convert(msgspec.to_builtins(request) | given, Request)
    except msgspec.ValidationError as error:
        raise MusterError("task_fault", f"the task's defaults cannot be: {error}") from error


def recipe_of(request: Request) -> Recipe:
    known = defaults(request.task).recipe
    given = {name: value for name in RECIPE_FIELDS if (value := getattr(request, name)) is not None}
    if request.codec is not None:
        given.setdefault("down_codec", request.codec)
    if given.get("steps") == AUTO:
        given["steps"] = 0
    if request.one_shot is not None:
        given.setdefault("average", 1)  # the mean of one model is none, and a whole model on every link
    return msgspec.structs.replace(known, **given)


def recipe_view(recipe: Recipe) -> dict[str, float | str]:
    """A recipe as views have it: "auto" where the planner chooses."""
    values = {name: getattr(recipe, name) for name in recipe.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None} | (
        {"steps": recipe.steps or AUTO}
        | ({"server_momentum": AUTO} if recipe.server_momentum is None else {})
    )


def stop_rule(request: Request) -> StopRule:
    """When the job ends, but for its target. Raises MusterError."""
    stale = None
    if request.stop_when is not None:
        found = _NO_BETTER.fullmatch(request.stop_when.strip())
        if found is None or not 1 <= int(found[1]) <= ROUNDS_MAX:
            raise MusterError("usage", f'--stop-when is "no better for N", N being 1 to {ROUNDS_MAX} rounds')
        stale = int(found[1])
    given = StopRule(stale=stale, **{name: getattr(request, name) for name in LIMITS})
    if given != StopRule() or request.target is not None:
        return given
    return defaults(request.task).stop if request.one_shot is None else StopRule(rounds=1)


def sharing_of(request: Request) -> dict[str, Any]:
    """The fields of `Job` that say which samples it asks for, and what of it is one contact."""
    share_bytes = request.share_bytes or 0
    if request.one_shot is None:
        return {"share": request.share, "share_bytes": share_bytes}
    steps = STEPS if request.one_shot == AUTO else request.one_shot
    return {"share": "always", "share_bytes": share_bytes, "one_shot": steps}


def prune_of(request: Request, stop: StopRule) -> Prune | None:
    """What `--prune` says: WIDTH, WIDTH@ROUND or WIDTH@FIRST..LAST. Raises MusterError.

    Without a round it is a third of the job's, or the 8th of one that has no last.
    """
    if request.prune is None:
        return None
    found = _PRUNE.fullmatch(request.prune.strip())
    width = float(found["width"]) if found is not None else 0.0
    if found is None or not WIDTH_MIN <= width < 1:
        raise MusterError(
            "usage",
            "--prune is WIDTH, WIDTH@ROUND or WIDTH@FIRST..LAST, such as 0.5@8: the fraction of the channels "
            f"that stay, {WIDTH_MIN:g} to below 1, and after which rounds the others go",
        )
    first = int(found["first"] or max(1, stop.rounds // 3 if stop.rounds else PRUNE_ROUND))
    last = int(found["last"] or first)
    if not 1 <= first <= last <= ROUNDS_MAX:
        raise MusterError("usage", f"--prune names rounds from 1 to {ROUNDS_MAX}, the first one first")
    if stop.rounds is not None and last >= stop.rounds:
        raise MusterError(
            "usage",
            f"--prune after round {last} leaves no round to recover: the job ends after {stop.rounds}",
        )
    return Prune(width, first, last)


def target_of(given: float | str) -> tuple[str | None, float]:
    """The metric (None: the headline) and the value that `--target` says. Raises MusterError."""
    name, equals, number = str(given).rpartition("=")
    try:
        value = float(number)
    except ValueError as error:
        raise MusterError(
            "usage",
            f"--target is a number or NAME=NUMBER, such as accuracy=0.95, not {str(given)[:SHOWN_MAX]!r}",
        ) from error
    if not abs(value) <= TARGET_MAX:
        raise MusterError("usage", f"--target must be a number of at most {TARGET_MAX:g}")
    return name.strip() if equals else None, value


def with_target(stop: StopRule, given: float | str | None, metrics: tuple[Metric, ...]) -> StopRule:
    """The rule with what `--target` says: VALUE is of the headline, NAME=VALUE of any metric.

    Raises MusterError.
    """
    if given is None:
        return stop
    name, value = target_of(given)
    target = Target(metrics[0].name if name is None else name, value)
    try:
        check_target(target, metrics)
    except Invalid as error:
        raise MusterError("usage", f"--{error}") from error
    return msgspec.structs.replace(stop, target=target)


def check(request: Request, recipe: Recipe, stop: StopRule) -> None:
    if request.target is not None:
        target_of(request.target)
    prune_of(request, stop)
    limits: list[tuple[bool, str]] = [
        (0 < recipe.lr <= LR_MAX, f"the learning rate (--lr) must be above 0 and at most {LR_MAX:g}"),
        (1 <= recipe.batch <= BATCH_MAX, f"the batch (--batch) must be 1 to {BATCH_MAX}"),
        (
            request.steps in (None, AUTO) or 1 <= recipe.steps <= STEPS_MAX,
            f"the steps (--steps) must be 1 to {STEPS_MAX}, or auto",
        ),
        (SEED_MIN <= recipe.seed <= SEED_MAX, f"--seed must be {SEED_MIN} to {SEED_MAX}"),
        (0 <= recipe.lr_end <= 1, "the last rate (--lr-end) must be a fraction of the first, 0 to 1"),
        (
            recipe.server_momentum is None or 0 <= recipe.server_momentum <= MOMENTUM_MAX,
            f"the round momentum (--server-momentum) must be 0 to {MOMENTUM_MAX}",
        ),
        (
            1 <= recipe.average <= AVERAGE_MAX,
            f"--average must be 1 to {AVERAGE_MAX} models",
        ),
        (0 <= recipe.momentum <= MOMENTUM_MAX, f"the momentum (--momentum) must be 0 to {MOMENTUM_MAX}"),
        (stop.rounds is None or 1 <= stop.rounds <= ROUNDS_MAX, f"--rounds must be 1 to {ROUNDS_MAX}"),
        (
            stop.seconds is None or 0 < stop.seconds <= AGE_MAX_S,
            f"--seconds must be above 0 and at most {AGE_MAX_S:g}",
        ),
        *(
            (given is None or 0 < given <= most, f"--{name} must be above 0 and at most {most:g}")
            for name, given, most in (
                ("bytes", stop.bytes, TOTAL_MAX),
                ("bytes-node", stop.bytes_node, TOTAL_MAX),
                ("joules", stop.joules, FIGURE_MAX),
                ("joules-node", stop.joules_node, FIGURE_MAX),
            )
        ),
        (1 <= request.min_nodes <= NODES_MAX, f"--min-nodes must be 1 to {NODES_MAX}"),
        (
            1 <= request.patience_s <= PATIENCE_MAX_S,
            f"--patience must be 1 to {PATIENCE_MAX_S:g} seconds",
        ),
        (
            request.linger_s is None or 0 <= request.linger_s <= LINGER_MAX_S,
            f"--linger must be 0 to {LINGER_MAX_S:.0f} s",
        ),
        (
            request.one_shot in (None, AUTO) or 1 <= int(request.one_shot or 0) <= STEPS_MAX,
            f"the steps on all samples (--one-shot) must be 1 to {STEPS_MAX}",
        ),
        (
            request.width is None or WIDTH_MIN <= request.width <= 1,
            f"the width (--width) must be {WIDTH_MIN:g} to 1: the fraction of the model's channels that stay",
        ),
        (request.share in SHARE, f"--share must be one of {', '.join(SHARE)}"),
        (
            request.share_bytes is None or request.share != "none" or request.one_shot is not None,
            "--share-bytes is for jobs that ask for samples: say --share always, too",
        ),
        (
            request.share_bytes is None or 1 <= request.share_bytes <= SHARED_BYTES_MAX,
            f"--share-bytes must be 1 to {SHARED_BYTES_MAX}",
        ),
        (_is_path(request.start), "what the job begins from (--from) must be a file or a commit"),
        (
            not request.fresh or request.start is not None,
            "--fresh says what is not taken from a file: give the file by --from",
        ),
        (
            len(request.fresh) <= FRESH_MAX and all(0 < len(p) <= FRESH_CHARS_MAX for p in request.fresh),
            f"--fresh takes at most {FRESH_MAX} patterns of 1 to {FRESH_CHARS_MAX} characters",
        ),
    ]
    for holds, sentence in limits:
        if not holds:
            raise MusterError("usage", sentence)
    for codec in {recipe.codec, recipe.down_codec} - {"auto"}:
        try:
            parse(codec)
        except CodecError as error:
            raise MusterError("usage", str(error)) from error
    job = Job(
        "t", bytes(ID_BYTES), recipe, stop, request.min_nodes, request.patience_s, b"", **sharing_of(request)
    )
    if (wrong := validate(job)) is not None:  # what every other node would say
        raise MusterError("usage", wrong)


def _is_path(start: str | None) -> bool:
    return start is None or (len(start) <= PATH_CHARS_MAX and "\0" not in start)

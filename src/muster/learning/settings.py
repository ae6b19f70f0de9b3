"""What a node says under [tasks.NAME] about how it trains, typed; and the options that a task declares."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, fields
from typing import Any

from muster.errors import MusterError

RESERVED = ("file", "data", "split", "part", "parts", "seed", "flower")  # are read elsewhere
_WHOLE = {  # keys of whole numbers: the least, and what to say
    "batch": (1, "a whole number from 1"),
    "steps_max": (1, "a whole number from 1"),
    "part": (0, "a whole number from 0"),
    "parts": (1, "a whole number from 1"),
    "seed": (-(1 << 63), "a whole number"),
}
_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,2})?")


@dataclass(frozen=True)
class Settings:
    """How this node trains a task, whatever the job's recipe says."""

    batch: int | None = None  # samples a step, instead of the recipe's
    lr_scale: float = 1.0  # of the recipe's learning rate
    steps_max: int | None = None  # in a round: its offers say so, and no plan gives it more
    device: str = "auto"  # "cpu", "cuda" or "cuda:1"; auto: a GPU if there is one
    precision: str = "fp32"  # or "bf16", where torch's autocast finds it good
    own_data: bool = True  # false: it has none of its own, and helps others on samples that these share

    @staticmethod
    def taken_from(options: dict[str, Any], task: str) -> tuple[Settings, dict[str, Any]]:
        """The settings among `options`, and the others. Raises MusterError."""
        names = [field.name for field in fields(Settings)]
        given = {name: options[name] for name in names if name in options}
        for name, value in given.items():
            what = wrong(name, value)
            if what is not None:
                raise MusterError("config", f"[tasks.{task}] {name}: {value!r} is not {what}")
        return Settings(**given), {k: v for k, v in options.items() if k not in given}


def wrong(name: str, value: Any) -> str | None:
    """What the value of a reserved key should be, if it is not that; None also for every other key."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if name in _WHOLE:
        least, what = _WHOLE[name]
        return None if whole and least <= value < 1 << 63 else what
    if name in ("file", "data", "split", "flower"):
        return None if isinstance(value, str) and value else "a text"
    if name == "lr_scale":
        number = whole or isinstance(value, float)
        return None if number and 0 < value < math.inf else "a number above 0"
    if name == "device":
        fits = isinstance(value, str) and _DEVICE.fullmatch(value)
        return None if fits else '"auto", "cpu", "cuda" or "cuda:1"'
    if name == "own_data":
        return None if isinstance(value, bool) else "true or false"
    if name == "precision":
        return None if value in ("fp32", "bf16") else '"fp32" or "bf16"'
    return None


def declared_options(task: str, declared: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The task's options with the node's values. Raises MusterError for one that the task does not declare,
    with the nearest that there is, and for a value of another type than its default."""
    for key, value in given.items():
        if key not in declared:
            known = [*declared, *(f.name for f in fields(Settings)), *RESERVED]
            near = [k for k in known if k.startswith(f"{key}_")]  # lr: lr_scale
            near += difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(declared) or 'none'}"
            raise MusterError(
                "config", f"[tasks.{task}] {key}: the task {task!r} declares no such option; {hint}"
            )
        default = declared[key]
        kinds = (int, float) if type(default) is float else (type(default),)
        if default is not None and (
            not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool)
        ):
            raise MusterError(
                "config", f"[tasks.{task}] {key}: {value!r} is not of the type of its default {default!r}"
            )
    return {**declared, **given}

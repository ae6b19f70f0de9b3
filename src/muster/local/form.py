"""What a sample and a label of a served task look like: what people give gets this form, or is refused.

This is what the model in use says of itself, so that a sample is stored as its server would store it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.errors import MusterError
from muster.local.raw import DTYPES
from muster.local.rows import Label

NAMES_SHOWN = 12


@dataclass(frozen=True)
class Form:
    """One sample, without an axis for the batch (-1: any size), and labels' names; none: they are values."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()

    def sample(self, given: Any) -> NDArray[Any]:
        """Raises MusterError("bad_data") for what does not fit."""
        x = np.asarray(given)
        fits = len(x.shape) == len(self.shape) and all(
            wanted in (-1, size) for wanted, size in zip(self.shape, x.shape, strict=True)
        )
        if not fits:
            raise MusterError(
                "bad_data", f"a sample has the shape {_sizes(x.shape)}, the model takes {_sizes(self.shape)}"
            )
        if x.dtype.name not in DTYPES or not np.can_cast(x.dtype, self.dtype, "same_kind"):
            raise MusterError("bad_data", f"a sample has the dtype {x.dtype}, the model takes {self.dtype}")
        return x.astype(self.dtype)

    def label(self, given: str | Label) -> Label:
        """By its name, or its number.  Raises MusterError("bad_data") for one that there is not."""
        text = str(given).strip()
        if text in self.names:
            return self.names.index(text)
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not self.names and abs(number) < float("inf"):
            return int(number) if text.lstrip("+-").isdigit() else number
        if number in range(len(self.names)):
            return int(number)
        raise MusterError("bad_data", f"{text[:60]!r} is no label: {self.choices()}")

    def name(self, label: Label) -> str:
        known = isinstance(label, int) and 0 <= label < len(self.names)
        return self.names[int(label)] if known else f"{label:g}"

    def choices(self) -> str:
        """What a label may be, as a sentence's end."""
        if not self.names:
            return "give a number"
        shown = ", ".join(self.names[:NAMES_SHOWN])
        more = len(self.names) - NAMES_SHOWN
        return f"give one of {shown}" + (f" and {more} more" if more > 0 else "")


def form_of(metadata: Mapping[str, str]) -> Form | None:
    """What an exported model says of its samples and labels; None: it does not say it."""
    try:
        sample = json.loads(metadata["sample"])
        dtype, shape = np.dtype(sample["dtype"]).name, tuple(int(size) for size in sample["shape"])
        names = json.loads(metadata.get("classes", "[]"))
    except (KeyError, TypeError, ValueError):
        return None
    sound = dtype in DTYPES and isinstance(names, list)
    return Form(dtype, shape, tuple(map(str, names))) if sound else None


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join("any" if size < 0 else str(size) for size in shape) or "of one number"

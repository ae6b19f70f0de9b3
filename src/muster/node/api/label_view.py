"""What the page gets to show of samples that wait for labels."""

from __future__ import annotations

import msgspec


class LabelSample(msgspec.Struct, frozen=True):
    """A sample without a label: a picture, or else a text."""

    id: int
    width: int
    height: int
    channels: int  # 1: grey, 3: red, green, blue
    pixels: str  # base64, a byte each, row after row; "": it is no picture
    text: str  # its numbers, where it is no picture
    answer: int | None  # the class that the model said
    held: bool | None  # to send back with the label: whether it is held out; None: by lot


class ToLabel(msgspec.Struct, frozen=True):
    """Samples of a task that wait for labels, the least certain first."""

    task: str
    classes: list[str]  # names, by label; empty: the model does not classify
    samples: list[LabelSample]

"""How much a node keeps of what its models are asked, and of the labels."""

from __future__ import annotations

from dataclasses import dataclass

from muster.local.raw import SAMPLE_BYTES_MAX


@dataclass(frozen=True)
class Limits:
    """The defaults hold a month of labels and some minutes of answers in about 100 MB."""

    unlabelled: int = 5000  # the newest; older ones go
    unlabelled_bytes: int = 50_000_000
    per_second: int = 20  # answers kept in one second; 0 keeps none
    labelled: int = 2000  # a reservoir a class
    labelled_bytes: int = 200_000_000
    held_out: int = 500  # the newest held-out labels that `labelled(held=True)` gives; never dropped for room
    sample_bytes: int = SAMPLE_BYTES_MAX
    free_bytes: int = 32_000_000  # what unlabelled samples leave free on the disk, so that labels have room

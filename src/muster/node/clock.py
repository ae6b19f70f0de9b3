"""Reads the wall clock, which dates events for people and decides nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

CLOCK_FILE = "MUSTER_CLOCK_FILE"


def wall_clock() -> Callable[[], float]:
    """Seconds since 1970; off by what the file in $MUSTER_CLOCK_FILE says, with which an emulation sets the
    clock of one node wrong."""
    named = os.environ.get(CLOCK_FILE)
    if not named:
        return time.time
    path = Path(named)

    def skewed() -> float:
        try:
            return time.time() + float(path.read_text())
        except (OSError, ValueError):  # not set, or this node sees another file system
            return time.time()

    return skewed

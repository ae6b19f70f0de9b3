"""How long real processes are waited for: as long as usual, or some times as long beside other work
(MUSTER_TEST_PATIENCE=4).  What is waited for stays the same."""

from __future__ import annotations

import os

FACTOR = float(os.environ.get("MUSTER_TEST_PATIENCE", "1"))


def patient_s(limit_s: float) -> float:
    return FACTOR * limit_s

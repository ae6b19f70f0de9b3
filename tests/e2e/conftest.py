from __future__ import annotations

import sys
from pathlib import Path

import pytest

from patience import patient_s

HERE = Path(__file__).parent
BENCH = HERE.parent.parent / "bench"
sys.path[:0] = [str(HERE), str(BENCH / "fleet"), str(BENCH / "network")]


@pytest.fixture(scope="session", autouse=True)
def patience_with_real_networks() -> None:
    import real_networks

    real_networks.ANSWER_S = patient_s(real_networks.ANSWER_S)


@pytest.fixture(scope="session", autouse=True)
def namespaces() -> None:
    """These tests are of an emulated network; where the machine does not allow one, they say so."""
    from muster.emulation.radio.carrier import probe

    refusal = probe()
    if refusal is not None:
        pytest.skip(f"no network can be emulated here: {refusal}")

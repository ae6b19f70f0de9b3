"""For all tests: a test is judged by what holds in it, not by how busy the machine is."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from muster.serving.paths import WHILE
from patience import FACTOR, patient_s

os.environ[WHILE] = str(os.getpid())  # a test that is killed leaves no server behind
settings.register_profile("muster", deadline=None)
settings.load_profile("muster")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The limits that end a test that hangs are patient, too."""
    if FACTOR == 1:
        return
    usual_s = float(config.getini("timeout"))
    for item in items:
        marker = item.get_closest_marker("timeout")
        limit_s = float(marker.args[0]) if marker is not None else usual_s
        item.add_marker(pytest.mark.timeout(patient_s(limit_s)), append=False)

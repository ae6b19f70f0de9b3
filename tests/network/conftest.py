"""A fleet for the tests of the real engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from zenoh_pair import SECONDS_MAX

from muster.network.trust.identity import Identity, init_fleet, issue, load_bundle


@pytest.fixture(scope="session")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    directory = init_fleet(tmp_path_factory.mktemp("fleet"), "north").directory
    return {name: load_bundle(issue(directory, name)) for name in ("alpha", "bravo", "carol")}


@pytest.fixture(scope="session", autouse=True)
def calls_end() -> Iterator[None]:
    """A call that was given up may not end in the middle of the interpreter's own end: that aborts."""
    yield
    for thread in threading.enumerate():
        if thread.name == "muster-call":
            thread.join(SECONDS_MAX)

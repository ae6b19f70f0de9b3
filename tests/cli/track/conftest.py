from __future__ import annotations

import pytest
from fakenode import FakeNode
from scripted import ScriptedJob

from muster.cli.track import loop
from muster.node.api.rounds import stream as round_stream


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (round_stream, "POLL_S", 0.01),
        (round_stream, "RETRY_S", 0.01),
        (round_stream, "GRACE_S", 0.05),
        (loop, "RETRY_S", 0.01),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def job(alpha: FakeNode) -> ScriptedJob:
    """A job at the only node that runs here, three rounds in."""
    script = ScriptedJob(rounds=3)
    script.at(alpha)
    return script

"""`muster doctor` beside a node that runs."""

from __future__ import annotations

import json

import pytest
from fakenode import FakeNode

from muster.cli.main import run


def test_the_node_that_runs_is_asked(alpha: FakeNode, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    (daemon,) = [one for one in found if one["topic"] == "daemon"]
    assert daemon["text"].startswith("alpha answers")
    assert next(one["text"] for one in found if one["topic"] == "port").startswith("the node listens on")
    assert "the clock of bravo says 1970-01-01" in [one["text"] for one in found]
    assert code == 0

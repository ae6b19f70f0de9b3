"""`muster log JOB --contributions`, and the same in a demo's report."""

from __future__ import annotations

import json
from typing import TypeAlias

import pytest
from fakenode import FakeNode, contribution, job_view
from msgspec.structs import replace

from muster.cli.contributions import check, worth
from muster.cli.main import run
from muster.node.api.snapshot import ValuesView

Capture: TypeAlias = pytest.CaptureFixture[str]

CHECK = ValuesView(3, 2, 1.234, 1.2, 360, True)


def test_the_table_says_what_each_gave_and_whether_it_adds_up(alpha: FakeNode, capsys: Capture) -> None:
    rows = [
        replace(contribution("alpha", 0.75), received_bytes=33_300, value=1.5, value_share=0.85),
        replace(
            contribution("bravo", 0.25),
            updates_refused=2,
            refused_why={"after the end of the job": 2},
            value=-0.266,
            value_share=-0.15,
        ),
        replace(contribution("idler", 0.0), value=0.0, value_share=0.0),
        contribution("newcomer", 0.0),
    ]
    view = job_view(contributions=rows, values=CHECK)
    alpha.answers["log"] = {"job": view, "commits": view.commits}
    assert run(["log", "abab", "--contributions"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[1].split() == [
        "NODE",
        "SAMPLES",
        "STEPS",
        "COUNTED",
        "LATE",
        "STAND-INS",
        "REFUSED",
        "SENT",
        "RECEIVED",
        "VALUE",
        "OF",
        "ALL",
    ]
    cells = {line.split()[0]: line.split() for line in lines[2:6]}
    assert cells["alpha"][3:] == ["3", "1", "0", "0", "12.3", "kB", "33.3", "kB", "1.500", "85", "%"]
    assert cells["bravo"][6] == "2"
    assert cells["bravo"][-3:] == ["-0.266", "-15", "%"]
    assert cells["idler"][-3:] == ["0", "0", "%"]
    assert cells["newcomer"][-2:] == ["-", "-"]
    assert "bravo: 2 refused: after the end of the job" in lines
    assert lines[-1] == (
        "values: of 2 of 3 rounds, on 360 samples that every node has; they add up to 1.234, "
        "the rounds' updates took 1.200 off the loss"
    )
    assert run(["log", "abab", "--contributions", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["job"]
    assert told["contributions"][1]["value"] == -0.266
    assert told["values"]["predicted"] == 1.234


def test_what_is_not_valued_is_said() -> None:
    assert check(ValuesView(3, 0, 0.0, 0.0, 0, True)) == "values: none of 3 rounds is valued"
    assert "coordinator holds out of its own data" in check(replace(CHECK, common=False))
    assert [worth(v) for v in (None, 0.0, -0.0001)] == ["-", "0", "-0.000"]

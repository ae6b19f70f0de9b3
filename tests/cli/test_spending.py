"""What a job has spent and has left, as the commands say it."""

from __future__ import annotations

import pytest
from fakenode import FakeNode, job_view, snapshot
from msgspec.structs import replace

from muster.cli.commands.train import summary
from muster.cli.follow import round_line
from muster.cli.main import run
from muster.cli.spending import by_node, cell, so_far
from muster.node.api.snapshot import BudgetView, JobSnapshot

ALL = [
    BudgetView("seconds", 12.5, 60.0),
    BudgetView("bytes", 123456, 200_000),
    BudgetView("joules", 812.0, 7200.0),
]
EACH = [BudgetView("bytes", 50_000, 50_000, "bravo"), BudgetView("bytes", 42_000, 50_000, "alpha")]


def limited(*budgets: BudgetView, joules: float | None = 812.0) -> JobSnapshot:
    return job_view(budgets=list(budgets), joules=joules)


def test_spent_of_how_much_where_it_is_limited() -> None:
    view = limited(*ALL)
    assert cell(view, "seconds", 12.5) == "12 s of 60 s"
    assert so_far(view) == "123 kB of 200 kB sent, 812 J of 7.2 kJ used"
    assert so_far(limited()) == "123 kB sent, 812 J used"
    assert so_far(limited(joules=None)) == "123 kB sent"  # nobody knows what it draws
    assert so_far(limited(ALL[2], joules=None)) == "123 kB sent, - of 7.2 kJ used"


def test_parts_of_nodes_name_who_spent_most_and_who_has_none_left() -> None:
    each = "each node may spend 50 kB: bravo has spent most, 50 kB; nothing is left to bravo"
    assert by_node(limited(*EACH)) == [each]
    assert by_node(limited(EACH[1])) == ["each node may spend 50 kB: alpha has spent most, 42 kB"]
    assert by_node(limited(*ALL)) == []


def test_progress_and_summary_of_train_say_it() -> None:
    view = limited(*ALL, *EACH)
    assert round_line(view).endswith(
        "round 3/3: accuracy 93.4 %, 123 kB of 200 kB sent, 812 J of 7.2 kJ used"
    )
    assert "123 kB of 200 kB sent, 812 J of 7.2 kJ used" in summary(view)
    assert "nothing is left to bravo" in summary(view)


@pytest.mark.parametrize("words", [["jobs"], ["log", "abab"]])
def test_jobs_and_log_say_it(alpha: FakeNode, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    view = limited(*ALL, *EACH)
    commits = [replace(view.commits[0], bytes_total=98_000, joules_total=640.0)]
    alpha.answers["snapshot"] = snapshot(home=str(alpha.home), jobs=[view])
    alpha.answers["log"] = {"job": view, "commits": commits}
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "123 kB of 200 kB" in out
    assert "812 J of 7.2 kJ" in out
    if words[0] == "log":
        assert "spent: 12 s of 60 s, 123 kB of 200 kB sent, 812 J of 7.2 kJ used" in out
        assert "nothing is left to bravo" in out
        assert "98 kB" in out
        assert "640 J" in out

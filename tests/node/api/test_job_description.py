"""`--target` and `--stop-when` as people give them: by name, and refused when they cannot be."""

from __future__ import annotations

import pytest

from muster.errors import MusterError
from muster.learning.recipes import defaults
from muster.node.api.job_description import Request, stop_rule, with_defaults, with_target
from muster.protocol.parts import CLASSES, LOSS, Metric, StopRule, Target

REGRESSION = (Metric("r2", "max"), Metric("mae", "min"), LOSS)


@pytest.mark.parametrize(
    ("given", "metrics", "target"),
    [
        (0.95, CLASSES, Target("accuracy", 0.95)),
        ("0.95", CLASSES, Target("accuracy", 0.95)),
        ("accuracy=0.95", CLASSES, Target("accuracy", 0.95)),
        ("loss=0.2", CLASSES, Target("loss", 0.2)),
        (0.9, REGRESSION, Target("r2", 0.9)),
        ("mae = 3", REGRESSION, Target("mae", 3.0)),
        (0.1, (LOSS,), Target("loss", 0.1)),
    ],
)
def test_a_target_is_of_the_first_metric_or_of_the_one_that_it_names(
    given: float | str, metrics: tuple[Metric, ...], target: Target
) -> None:
    assert with_target(StopRule(rounds=3), given, metrics) == StopRule(rounds=3, target=target)


@pytest.mark.parametrize(
    ("given", "metrics", "said"),
    [
        ("accuracy=0.9", REGRESSION, "there is no metric 'accuracy', there are r2, mae, loss"),
        (1.5, CLASSES, "accuracy 1.5 is not above 0 and at most 1"),
        ("accuracy=95", CLASSES, "accuracy 95 is not above 0"),
        (0.0, CLASSES, "accuracy 0 is not above 0"),
        ("r2=1.2", REGRESSION, "r2 1.2 can never be met"),
        ("loss=nan", CLASSES, "a number of at most"),
        ("high", CLASSES, "a number or NAME=NUMBER, such as accuracy=0.95"),
        ("loss=", CLASSES, "a number or NAME=NUMBER"),
    ],
)
def test_a_target_that_can_never_be_met_is_refused(
    given: float | str, metrics: tuple[Metric, ...], said: str
) -> None:
    """For a regression `--target 0.9` was an accuracy: never met, and nothing said so."""
    with pytest.raises(MusterError, match=said) as found:
        with_target(StopRule(), given, metrics)
    assert found.value.code == "usage"


def test_no_better_for_so_many_rounds() -> None:
    assert stop_rule(Request("t", stop_when="no better for 10")) == StopRule(stale=10)
    assert stop_rule(Request("t", rounds=50, stop_when=" no better for 3 ")) == StopRule(rounds=50, stale=3)
    for wrong in ("no better", "no better for 0", "no better for 99999", "better for 3", ""):
        with pytest.raises(MusterError, match="no better for N"):
            stop_rule(Request("t", stop_when=wrong))


def test_budgets_become_the_rule_and_put_the_tasks_rounds_aside() -> None:
    given = {"bytes": 9, "bytes_node": 8, "joules": 7.5, "joules_node": 6.5, "seconds": 5.0}
    assert stop_rule(Request("digits", **given)) == StopRule(**given)
    for name, value in given.items():
        assert stop_rule(Request("digits", **{name: value})) == StopRule(**{name: value})
        assert with_defaults(Request("t", **{name: value}), {"rounds": 30}).rounds is None
    assert with_defaults(Request("t"), {"rounds": 30}).rounds == 30


def test_without_any_rule_the_tasks_own_counts() -> None:
    assert stop_rule(Request("digits")) == defaults("digits").stop
    assert stop_rule(Request("digits", target=0.9)) == StopRule()

"""Figures by name and direction: pooled, compared, the end of a job by its target or by a standstill."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from histories import ID, JOB, A, B, C, commit, entry, folded
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from muster.history.graph import merge_of
from muster.job.figures import Figures, Standstill, of_classes, pooled, sorted_figures, standstill
from muster.job.stop_rule import finished_by, target_reached
from muster.job.view import JobView
from muster.network.sync.ledger import Entry
from muster.protocol.ids import NOBODY, NodeId
from muster.protocol.parts import CLASSES, LOSS, Figure, Metric, StopRule, Target
from muster.protocol.records import Measurement

ACCURACY = CLASSES[0]
PERPLEXITY = Metric("perplexity", "min", True)


def measured(of: Entry, value: float, *, by: NodeId = A, examples: int = 100, common: bool = True) -> Entry:
    figures = sorted_figures({"accuracy": (value * examples, examples), "loss": (examples, examples)})
    return entry(by, Measurement(ID, of.id, examples, figures, common))


def own(value: float, examples: int) -> Figures:
    return Figures(examples, {"accuracy": (value * examples, examples)})


def shared(value: float, examples: int = 100) -> Figures:
    return Figures(examples, {"accuracy": (value * examples, examples)}, common=True)


def line(length: int) -> list[Entry]:
    """Commits of rounds 0 to `length`."""
    found = [commit(None)]
    for number in range(length):
        found.append(commit(found[-1], folded(A, number + 1), params=bytes([number + 1]) * 32))
    return found


def view_with(rule: StopRule, entries: list[Entry]) -> JobView:
    view = JobView(ID, replace(JOB, stop=rule), A)
    for one in entries:
        view.absorb(one)
    return view


# ---- pooling


def test_own_parts_add_up_by_name_and_the_common_set_counts_once() -> None:
    of = commit(None)
    one = Measurement(ID, of.id, 10, sorted_figures(of_classes(10, 5, 20.0)), False)
    two = Measurement(ID, of.id, 30, (Figure("loss", 10, 30), Figure("mae", 6.0, 30)), False)
    found = pooled([one, two], ACCURACY)
    assert found is not None
    assert found.examples == 40
    assert found.values([*CLASSES, Metric("mae", "min")]) == {"accuracy": 0.5, "loss": 0.75, "mae": 0.2}
    large = Measurement(ID, of.id, 50, sorted_figures(of_classes(50, 20, 9.0)), True)
    same = Measurement(ID, of.id, 50, sorted_figures(of_classes(50, 21, 99.0)), True)
    for order in itertools.permutations([one, large, same]):
        common = pooled(order, ACCURACY)
        assert common is not None
        assert common.value(ACCURACY) == 0.42
        assert common.common
    by_loss = pooled([large, same], LOSS)
    assert by_loss is not None
    assert by_loss.value(LOSS) == 9.0 / 50


def test_a_perplexity_is_the_exponential_of_the_pooled_mean() -> None:
    of = commit(None)
    parts = [
        Measurement(ID, of.id, 4, (Figure("perplexity", tokens * nll, tokens),), False)
        for tokens, nll in ((100, 2.0), (300, 4.0))
    ]
    found = pooled(parts, PERPLEXITY)
    assert found is not None
    assert found.value(PERPLEXITY) == pytest.approx(math.exp(3.5))
    far = Figures(1, {"perplexity": (1e9, 1.0)})
    assert math.isfinite(far.value(PERPLEXITY) or math.inf)


# ---- the target


@pytest.mark.parametrize(
    ("metric", "sums", "target", "ends"),
    [
        (ACCURACY, (95.0, 100.0), 0.95, True), (ACCURACY, (94.0, 100.0), 0.95, False),
        (LOSS, (19.0, 100.0), 0.2, True), (LOSS, (21.0, 100.0), 0.2, False),
        (PERPLEXITY, (300.0, 100.0), 20.1, True), (PERPLEXITY, (301.0, 100.0), 20.1, False),
        (Metric("r2", "max"), (-5.0, 10.0), -0.5, True),
    ],
)  # fmt: skip
def test_a_target_is_reached_by_the_metrics_direction(
    metric: Metric, sums: tuple[float, float], target: float, ends: bool
) -> None:
    rule, figures = StopRule(target=Target(metric.name, target)), Figures(100, {metric.name: sums})
    assert target_reached(rule, (metric,), figures) is ends
    assert not target_reached(rule, (metric,), Figures(100, {"other": sums}))
    assert not target_reached(rule, (metric,), None)


def test_the_end_names_the_metric() -> None:
    point = view_with(StopRule(rounds=9), line(0)).graph.points[line(0)[0].id]
    job = replace(JOB, stop=StopRule(target=Target("accuracy", 0.9)))
    assert finished_by(job, point, shared(0.953)) == "target reached: accuracy 0.953"
    of_perplexity = replace(JOB, stop=StopRule(target=Target("perplexity", 30.0)), metrics=(PERPLEXITY, LOSS))
    figures = Figures(9, {"perplexity": (math.log(12.3456), 1.0)})
    assert finished_by(of_perplexity, point, figures) == "target reached: perplexity 12.35"
    job = replace(JOB, stop=StopRule(stale=3))
    assert finished_by(job, point, None, Standstill(2, 0.9, 7)) is None
    said = "no better for 3 rounds: the best was accuracy 0.900 in round 7"
    assert finished_by(job, point, None, Standstill(3, 0.9, 7)) == said


# ---- no better for N rounds


@pytest.mark.parametrize(
    ("values", "rounds", "best_round"),
    [
        ([0.1, 0.2, 0.3], 0, 2),
        ([0.1, 0.5, 0.3, 0.4], 2, 1),
        ([0.5, 0.5, 0.5], 2, 0),  # an equal one is no better
        ([0.4, None, None, 0.3], 1, 0),  # rounds that nobody measured do not count
        ([0.4, None, 0.5, 0.1], 1, 2),
    ],
)
def test_rounds_count_that_were_measured_after_the_best_one(
    values: list[float | None], rounds: int, best_round: int
) -> None:
    up = [(number, shared(v)) for number, v in enumerate(values) if v is not None]
    found = standstill(up, ACCURACY)
    assert found is not None
    assert (found.rounds, found.best_round) == (rounds, best_round)
    down = [(n, Figures(9, {"loss": (-f.sums["accuracy"][0], 1.0)})) for n, f in up]
    less = standstill(down, LOSS)  # the same by a metric of which less is better
    assert less is not None
    assert (less.rounds, less.best_round) == (rounds, best_round)
    assert standstill(up, LOSS) is None


def test_a_few_own_samples_say_nothing_about_what_all_have() -> None:
    early, late = (0, own(1.0, 5)), [(number, own(0.5 + number / 100, 100)) for number in (1, 2, 3)]
    found = standstill([early, *late], ACCURACY)
    assert found is not None
    assert (found.rounds, found.best_round) == (0, 3)
    whole = standstill([(0, shared(0.2)), (1, own(1.0, 100)), (2, shared(0.3, 9))], ACCURACY)
    assert whole is not None
    assert (whole.best, whole.best_round) == (0.3, 2)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), max_size=30), st.randoms())
def test_a_standstill_does_not_depend_on_the_order(
    values: list[tuple[int, float]], rng: random.Random
) -> None:
    known = [(round_, shared(value)) for round_, value in values]
    found = standstill(known, ACCURACY)
    rng.shuffle(known)
    assert standstill(known, ACCURACY) == found
    if found is not None:
        assert all(f.value(ACCURACY) <= found.best for _, f in known)  # type: ignore[operator]
        assert found.rounds <= len({round_ for round_, _ in known if round_ > found.best_round})


def test_a_line_that_got_no_better_ends_the_job_on_whatever_node_knows_its_figures() -> None:
    commits = line(5)
    values = [0.2, 0.6, 0.5, 0.6, 0.4, 0.7]
    figures = [measured(c, v) for c, v in zip(commits, values, strict=True)]
    view = view_with(StopRule(stale=3), [*commits, *figures[:4]])
    points = [view.graph.points[c.id] for c in commits]
    assert view.finished(points[3]) is None
    assert view.finished(points[4]) is None  # not measured yet
    view.absorb(figures[4])
    assert view.finished(points[4]) == "no better for 3 rounds: the best was accuracy 0.600 in round 1"
    assert view.finished(points[3]) is None
    view.absorb(figures[5])
    assert view.finished(points[5]) is None  # it went on elsewhere, and got better
    mixed = [*commits, *figures]
    random.Random(3).shuffle(mixed)
    assert view_with(StopRule(stale=3), mixed).finished(points[4]) == view.finished(points[4])


def test_a_merge_has_both_sides_behind_it() -> None:
    root = commit(None)
    left = commit(root, folded(A, 1), params=b"l" * 32)
    right = commit(root, folded(C, 1), params=b"r" * 32, author=C)
    merged = entry(NOBODY, merge_of(ID, left.id, right.id)[1])
    known = [root, left, right, merged, measured(root, 0.1), measured(left, 0.8), measured(right, 0.3, by=C)]
    view = view_with(StopRule(stale=1), known)
    point = view.graph.points[merged.id]
    assert view.finished(view.graph.points[right.id]) is None
    assert view.finished(point) is None
    after = commit(merged, folded(B, 1), params=b"m" * 32, on=point)
    view.absorb(after)
    view.absorb(measured(after, 0.7))
    said = "no better for 1 round: the best was accuracy 0.800 in round 1"
    assert view.finished(view.graph.points[after.id]) == said


# ---- the best commit


def test_the_best_commit_is_one_that_is_held_and_of_equal_ones_the_newest() -> None:
    commits = line(4)
    view = view_with(StopRule(rounds=9), [*commits, *(measured(commits[n], v) for n, v in
                     ((0, 0.9), (1, 0.7), (2, 0.7), (3, 0.1)))])  # fmt: skip
    found = view.best(lambda commit: commit != commits[0].id)
    assert found is not None
    assert found.id == commits[2].id
    assert view.best(lambda commit: commit == commits[4].id) is None
    less = JobView(ID, replace(JOB, metrics=(LOSS, ACCURACY)), A)
    for one in [*commits, measured(commits[1], 0.7), entry(A, Measurement(ID, commits[2].id, 9,
                sorted_figures(of_classes(9, 0, 0.1)), True))]:  # fmt: skip
        less.absorb(one)
    best = less.best(lambda commit: True)
    assert best is not None
    assert best.id == commits[2].id

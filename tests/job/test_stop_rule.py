"""When a head ends its job by what was spent: a table, merges, and whole jobs of a small field."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from histories import ID, JOB, A, B, C, D, commit, entry, folded, rosters
from msgspec.structs import replace
from small_field import SmallField

from muster.history.graph import merge_of
from muster.job.roles import min_nodes
from muster.job.stop_rule import ends_with, ends_without_figures, needs_figures, spent_up
from muster.job.view import JobView
from muster.network.sync.ledger import Entry
from muster.node.api.budgets import budgets
from muster.protocol.ids import NOBODY, JobId, NodeId
from muster.protocol.parts import Spent, StopRule
from muster.protocol.records import Commit, Offer
from muster.simulation.virtual.event_loop import run

ROOT = commit(None)
TAKES = "that each may, and a round takes"


spent_at: dict[bytes, dict[NodeId, Spent]] = {}  # totals, by commit


def spent(node: NodeId, bytes_: int, joules: float = 0.0) -> Spent:
    return Spent(node, 4, 4, bytes_, joules)


def after(parent: Entry, *spent: Spent, roster: Sequence[NodeId] = (A, B, C), over: str = "") -> Entry:
    """A commit that counts an update of each node that spent something since its parent."""
    before = _totals(parent)
    new = [s for s in spent if s != before.get(s.node)]
    made = commit(parent, *(folded(s.node, s.bytes) for s in new), author=spent[0].node)
    assert isinstance(made.record, Commit)
    more = []
    for s in new:
        b = before.get(s.node, Spent(s.node, 0, 0, 0))
        more.append(replace(s, steps=0, examples=0, bytes=s.bytes - b.bytes, joules=s.joules - b.joules))
    joined = made.record.joined + tuple(n for n in roster if n not in rosters[made.id])
    changed = entry(made.author, replace(made.record, spent=tuple(sorted(more)), joined=joined, over=over))
    spent_at[changed.id] = before | {s.node: s for s in spent}
    rosters[changed.id] = rosters[parent.id] + joined
    return changed


def _totals(made: Entry) -> dict[NodeId, Spent]:
    """What was spent behind a commit, or behind the one that it only closes."""
    assert isinstance(made.record, Commit)
    parents = made.record.parents
    return spent_at.get(made.id) or (spent_at.get(parents[0], {}) if parents else {})


def view_with(rule: StopRule, entries: list[Entry], min_nodes: int = 1) -> JobView:
    view = JobView(ID, replace(JOB, stop=rule, min_nodes=min_nodes), A)
    for one in entries:
        view.absorb(one)
    return view


@pytest.mark.parametrize(
    ("rule", "spending", "min_nodes", "why"),
    [
        (StopRule(bytes=60), (10, 20, 29), 1, None),
        (StopRule(bytes=20_000), (10_000, 10_000, 40), 1, "20 kB of 20 kB spent"),
        (StopRule(bytes=20_000), (10_000, 11_000, 40), 1, "21 kB of 20 kB spent"),
        (StopRule(joules=6.1), (10, 20, 30), 1, None),
        (StopRule(joules=6.0), (10, 20, 30), 1, "6 J of 6 J spent"),
        (StopRule(bytes=100, joules=6.0), (10, 20, 30), 1, "6 J of 6 J spent"),
        (StopRule(bytes_node=20), (10, 20, 30), 1, None),
        (StopRule(bytes_node=20), (10, 20, 30), 2, f"2 of 3 nodes have spent the 20 B {TAKES} 2"),
        (StopRule(bytes_node=30), (10, 20, 30), 3, f"1 of 3 nodes has spent the 30 B {TAKES} 3"),
        (StopRule(bytes_node=10), (10, 20, 30), 1, "all 3 nodes have spent the 10 B that each may"),
        (StopRule(joules_node=1.0), (10, 20, 30), 1, "all 3 nodes have spent the 1 J that each may"),
        (StopRule(bytes_node=31, joules_node=2.0), (10, 20, 30), 1, None),
        (
            StopRule(bytes_node=10_000, joules_node=2.0), (10, 20, 30), 2,
            "2 of 3 nodes have spent the 10 kB or 2 J that each may, and a round takes 2",
        ),
        (StopRule(bytes_node=500_000), (10, 20, 30), 4, None),
    ],
)  # fmt: skip
def test_a_head_ends_its_job_by_what_was_spent(
    rule: StopRule, spending: tuple[int, ...], min_nodes: int, why: str | None
) -> None:
    head = after(ROOT, *(spent(n, s, s / 10) for n, s in zip((A, B, C), spending, strict=True)))
    view = view_with(rule, [ROOT, head], min_nodes)
    assert view.finished(view.graph.points[head.id]) == why
    assert view.finished(view.graph.points[ROOT.id]) is None
    point = view.graph.points[head.id]
    ends = ends_with(view.job, 1, 1.0, point.spent, point.roster)
    assert ends is (why is not None)  # the last round knows before it is committed
    assert ends_without_figures(rule)
    assert not needs_figures(rule)


def test_a_node_that_spent_its_part_is_asked_for_no_more() -> None:
    counters = (spent(A, 10, 3.0), spent(B, 20, 1.0))
    for rule, left in (
        (StopRule(bytes_node=20), [A, C]),
        (StopRule(joules_node=3.0), [B, C]),
        (StopRule(bytes_node=20, joules_node=3.0), [C]),
        (StopRule(bytes=5, joules=1.0), [A, B, C]),
    ):
        assert [n for n in (A, B, C) if n not in spent_up(rule, counters)] == left


def test_a_node_alone_with_a_part_left_goes_on_alone() -> None:
    head = after(ROOT, spent(A, 10), spent(B, 20), roster=(A, B))
    offers = [entry(n, Offer(ID, 5, 1, 10, 0.1)) for n in (A, B)]
    for bytes_node, least in ((21, 2), (20, 1)):
        view = view_with(StopRule(bytes_node=bytes_node), [ROOT, head, *offers])
        assert min_nodes(view, view.graph.points[head.id]) == least


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        # each side alone is at 40; together A counts once, by its larger counter
        (StopRule(bytes=70), "70 B of 70 B spent"),
        (StopRule(bytes=71), None),
        (StopRule(joules=7.0), "7 J of 7 J spent"),
        (StopRule(bytes_node=20), "all 3 nodes have spent the 20 B that each may"),
        (StopRule(bytes_node=21), None),
    ],
)
def test_merged_counters_are_the_larger_ones(rule: StopRule, why: str | None) -> None:
    common = after(ROOT, spent(A, 10, 1.0))
    one = after(common, spent(A, 20, 2.0), spent(B, 20, 2.0))
    other = after(common, spent(A, 10, 1.0), spent(C, 30, 3.0))
    merge_id, merge = merge_of(ID, one.id, other.id)
    view = view_with(rule, [ROOT, common, one, other, entry(NOBODY, merge)])
    point = view.graph.points[merge_id]
    assert [s.bytes for s in point.spent] == [20, 20, 30]
    assert view.finished(point) == why
    assert view.finished(view.graph.points[common.id]) is None


def test_a_commit_may_say_that_it_is_the_last() -> None:
    """So do those that only close it; a round on it, or a merge with it, evaluates anew."""
    rule, over = StopRule(bytes=100), "a round takes 30 B more, and 25 B are left"
    last = after(ROOT, spent(A, 40), spent(B, 35), roster=(A, B), over=over)
    closing = commit(last, params=b"z" * 32)
    again = commit(closing, params=b"z" * 32)
    beyond = after(closing, spent(A, 45), spent(B, 35), roster=(A, B))
    other = after(ROOT, spent(D, 5), roster=(A, B, D))
    merge_id, merge = merge_of(ID, closing.id, other.id)
    view = view_with(rule, [ROOT, last, closing, again, beyond, other, entry(NOBODY, merge)])
    ends = {e.id: view.finished(view.graph.points[e.id]) for e in (last, closing, again, beyond, other)}
    assert ends == {last.id: over, closing.id: over, again.id: over, beyond.id: None, other.id: None}
    assert view.finished(view.graph.points[merge_id]) is None
    without = view_with(StopRule(rounds=9), [ROOT, last])  # has no budget into which it could not fit
    assert without.finished(without.graph.points[last.id]) is None


# ---- whole jobs


async def to_the_end(field: SmallField, job: JobId) -> str:
    """Why it ended, as all nodes say."""
    assert await field.until(lambda: all(field.runner(n, job).finished() for n in field.cores), 900.0)
    await asyncio.sleep(30)
    (why,) = {field.runner(n, job).finished() for n in field.cores}
    return str(why)


def counters(field: SmallField, job: JobId) -> dict[str, Spent]:
    head = field.runner("a", job).head()
    assert head is not None
    return {field.cores["a"].trust.name(s.node): s for s in head.spent}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (StopRule(bytes=5000), ("kB of 5 kB spent", "bytes are left")),
        (StopRule(seconds=20.0), ("20 s are over", "s are left")),
        (StopRule(bytes_node=2000), ("that each may", "have spent what they may")),
    ],
)
def test_a_job_ends_by_its_budget(rule: StopRule, said: tuple[str, ...]) -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        job = field.ask("a", stop=rule, min_nodes=1)
        assert (await to_the_end(field, job)).endswith(said)
        assert field.round("a", job) > 2
        await field.close()

    run(main(), until_s=3600)


def test_who_has_spent_its_part_sits_out_and_the_others_go_on() -> None:
    """c comes late: when a and b have spent theirs, c still has some and goes on alone."""

    async def main() -> None:
        field = SmallField("abc")
        await field.cores["a"].start()
        await field.cores["b"].start()
        await asyncio.sleep(20)
        job = field.ask("a", stop=StopRule(bytes_node=40_000))
        assert await field.until(lambda: field.round("b", job) >= 4, 60.0)
        await field.cores["c"].start()
        assert await to_the_end(field, job)
        used = counters(field, job)
        assert all(38_000 < s.bytes <= 40_000 for s in used.values())  # as many rounds as fit, each
        assert field.round("a", job) >= used["a"].steps / 4 + 2
        await field.close()

    run(main(), until_s=3600)


def test_budgets_are_shown_with_what_was_spent_of_them() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(bytes=3000, seconds=500.0, bytes_node=9000))
        await to_the_end(field, job)
        runner = field.runner("b", job)
        head = runner.head()
        assert head is not None
        found = budgets(field.cores["b"], runner, head, head.age_s)
        assert [(b.resource, b.limit, b.node) for b in found] == [
            ("seconds", 500.0, None), ("bytes", 3000, None), ("bytes", 9000, "a"), ("bytes", 9000, "b"),
        ]  # fmt: skip
        assert found[1].spent == found[2].spent + found[3].spent > 1500
        assert 0 < found[0].spent < 500
        await field.close()

    run(main(), until_s=3600)

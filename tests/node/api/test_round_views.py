"""A history with two branches, told as a line of rounds in which every update is counted once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from two_branches import ROUNDS, Field

from muster.errors import MusterError
from muster.node.api.rounds.schema import Round
from muster.node.api.rounds.views import line, rounds
from muster.protocol.ids import JobId
from muster.simulation.virtual.event_loop import run


def on_field(main: Any) -> None:
    async def whole() -> None:
        field = Field()
        job = await field.play()
        main(field, job)
        await field.close()

    run(whole(), until_s=36_000)


def all_of(core: Any, runner: Any, page: int, commit: str = "") -> list[Round]:
    found: list[Round] = []
    while True:
        answer = rounds(core, runner, commit, 0, page)
        found += answer.rounds
        if not answer.more:
            return found
        commit = answer.rounds[-1].commit


def updates(found: list[Round]) -> Counter[str]:
    return Counter({n: 0 for r in found for n in r.contributions}) + Counter(
        {
            n: sum(r.contributions[n].updates for r in found if n in r.contributions)
            for n in ("alpha", "bravo")
        }
    )


def counted_by(points: Any) -> Counter[bytes]:
    """Updates by node; the same one may stand in commits of two branches."""
    return Counter(
        node for node, _, _ in {(f.node, f.incarnation, f.sequence) for p in points for f in p.folded}
    )


def test_every_update_is_in_one_round() -> None:
    def main(field: Field, job: JobId) -> None:
        runner = field.runner(field.alpha, job)
        head = runner.head()
        whole = rounds(field.alpha, runner, "", 0)
        found = whole.rounds
        assert (whole.state, whole.over, whole.more) == ("finished", True, False)
        assert list(whole.metrics) == ["accuracy", "loss"]
        assert found[0].number == 1
        assert found[-1].commit == head.id.hex()
        assert found[-1].number == ROUNDS
        assert Counter(r.kind for r in found) == {"round": len(found) - 2, "merge": 1, "closing": 1}
        counted = counted_by(runner.view.graph.ancestors(head.id))
        given = updates(found)
        assert {field.alpha.trust.name(n): c for n, c in counted.items()} == given
        assert sum(r.bytes for r in found) == sum(s.bytes for s in head.spent) == found[-1].bytes_total
        merge = next(r for r in found if r.kind == "merge")
        assert (merge.coordinator, len(merge.participants)) == ("", 1)  # the other side's
        for r in found:
            assert r.participants == sorted(r.contributions)
            shares = sum(p.share for p in r.contributions.values())
            assert shares == pytest.approx(0.0 if r.kind == "closing" else 1.0, abs=0.001)
        assert all(r.settled for r in found)
        assert all(0 <= r.metrics["accuracy"] <= 1 for r in found if r.metrics)
        assert sum(bool(r.metrics) for r in found) > 8  # of fast rounds not every one is measured

        for page in (1, 7):
            assert all_of(field.alpha, runner, page) == found

    on_field(main)


def test_a_reader_of_the_other_branch_goes_on_over_the_merge() -> None:
    def main(field: Field, job: JobId) -> None:
        runner = field.runner(field.alpha, job)
        graph = runner.view.graph
        merge = next(p for p in graph.points.values() if p.is_merge)
        for side in merge.parents:
            before = line(graph, [graph.points[side]], None)
            assert before[-1].id == side
            after = all_of(field.alpha, runner, 200, side.hex())
            assert after[0].commit == merge.id.hex()
            assert after[-1].commit == runner.head().id.hex()
            seen = counted_by(before)
            both = updates(after) + Counter({field.alpha.trust.name(n): c for n, c in seen.items()})
            assert both == updates(all_of(field.alpha, runner, 200))
        # a branch that is not merged is no step back for who follows the other one
        a, b = (graph.points[p] for p in merge.parents)
        assert line(graph, [a, b], a) == line(graph, [a, b], b) == []

    on_field(main)


def test_a_replaced_commit_is_left_where_both_histories_part() -> None:
    def main(field: Field, job: JobId) -> None:
        graph = field.runner(field.alpha, job).view.graph
        merge = next(p for p in graph.points.values() if p.is_merge)
        a, b = (graph.points[p] for p in merge.parents)
        path = line(graph, [b], a)
        ancestors = {p.id for p in graph.ancestors(a.id)}
        assert path[-1] is b
        assert path[0].parents[0] in ancestors
        assert not ancestors & {p.id for p in path}

    on_field(main)


def test_an_unknown_commit_goes_by_the_number() -> None:
    def main(field: Field, job: JobId) -> None:
        runner = field.runner(field.alpha, job)
        found = rounds(field.alpha, runner, "77" * 32, 20).rounds
        assert [r.number for r in found] == [21, 22, 23, 24, 24]  # and the closing one
        whole = rounds(field.alpha, runner, "", 0).rounds
        assert found == [r for r in whole if r.number > 20]
        with pytest.raises(MusterError, match="is no commit"):
            rounds(field.alpha, runner, "xyz", 0)

    on_field(main)


def test_a_round_waits_for_its_figures() -> None:
    def main(field: Field, job: JobId) -> None:
        runner = field.runner(field.alpha, job)
        whole = rounds(field.alpha, runner, "", 0).rounds
        measured = runner.view.measurements
        kept = dict(measured)
        measured.clear()
        found = rounds(field.alpha, runner, "", 0).rounds
        assert [r.settled for r in found] == [True] * (len(found) - 1) + [False]
        assert all(r.metrics == {} and r.measured == 0 for r in found)
        measured.update(kept)
        assert rounds(field.alpha, runner, "", 0).rounds == whole

    on_field(main)


def test_a_closing_commit_is_told_when_its_model_is_another() -> None:
    def main(field: Field, job: JobId) -> None:
        runner = field.runner(field.alpha, job)
        graph, head = runner.view.graph, runner.head()
        same = msgspec.structs.replace(
            head.record, parents=(head.id,), folded=(), costs=(), joined=(), spent=(), delta=None
        )
        for name, params in ((b"same", same.params), (b"mean", bytes(32))):
            graph.add(name, field.alpha.node, msgspec.structs.replace(same, params=params))
            runner.models.heads = lambda name=name: [graph.points[name]]
            found = rounds(field.alpha, runner, head.id.hex(), 0).rounds
            kinds = [(r.kind, r.number, r.contributions, r.bytes) for r in found]
            assert kinds == ([] if name == b"same" else [("closing", ROUNDS, {}, 0)])

    on_field(main)


def test_a_node_without_models_tells_what_it_knows() -> None:
    """carol takes no part and only passes the job on."""

    def main(field: Field, job: JobId) -> None:
        runner = field.runner(field.carol, job)
        assert runner.head() is None
        here = rounds(field.alpha, field.runner(field.alpha, job), "", 0)
        there = rounds(field.carol, runner, "", 0)
        assert (there.state, there.over) == ("finished", True)
        assert there.rounds == here.rounds
        assert there.age_s == pytest.approx(there.rounds[-1].age_s, abs=0.001)

    on_field(main)

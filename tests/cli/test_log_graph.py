"""The drawn history: every commit once, its parents below it, and strokes that lead to them."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from muster.cli import commit_graph
from muster.cli.commit_graph import draw, lanes, order
from muster.node.api.snapshot import CommitView


def commit(number: int, *parents: int, age_s: float = 0.0, **more: object) -> CommitView:
    plain = {"coordinator": "" if len(parents) > 1 else "alpha", "nodes": ["alpha", "bravo"], "bytes": 11_200}
    plain |= more
    return CommitView(
        id=f"{number:08x}" * 8,
        parents=[f"{parent:08x}" * 8 for parent in parents],
        round=number,
        counted=2,
        age_s=age_s,
        accuracy=0.955,
        loss=None,
        held=True,
        figures={"accuracy": 0.955},
        **plain,  # type: ignore[arg-type]
    )


@st.composite
def histories(make: st.DrawFn) -> list[CommitView]:
    """Any graph of up to 24 commits with none to three parents each, and any ages."""
    commits: list[CommitView] = []
    for number in range(make(st.integers(1, 24))):
        parents = make(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        commits.append(commit(number, *parents, age_s=make(st.floats(0, 100))))
    return commits


def trace(rows: list[tuple[str, str | None]]) -> dict[str, set[str]]:
    """The parents of each commit as an eye finds them: by following the strokes downwards."""
    found: dict[str, set[str]] = {}
    lines: list[tuple[int, str]] = []  # (column, the commit that the line comes from)
    for art, name in rows:
        padded = art + " " * 80
        below: list[tuple[int, str]] = []
        for column, source in lines:
            if padded[column] == "*":
                assert name is not None
                found[source].add(name)
            elif padded[column] == "|":
                below.append((column, source))
            elif column and padded[column - 1] == "/":
                target = column - 2
                while target and padded[target - 1] == "_":
                    target -= 2
                below.append((target, source))
            if padded[column + 1] == "\\":
                below.append((column + 2, source))
        if name is not None:
            assert art.count("*") == 1
            found[name] = set()
            below.append((art.index("*"), name))
        lines = below
    return found


@given(histories())
def test_lines_lead_from_every_commit_to_its_parents_and_nowhere_else(commits: list[CommitView]) -> None:
    ordered = order(commits)
    rows = lanes([(c.id, parents) for c, parents in ordered])
    drawn = [name for _, name in rows if name is not None]
    assert sorted(drawn) == sorted(c.id for c in commits)
    place = {name: number for number, name in enumerate(drawn)}
    assert all(place[c.id] < place[parent] for c in commits for parent in c.parents)
    assert trace(rows) == {c.id: set(c.parents) for c in commits}


def test_three_branches_that_meet() -> None:
    rows = lanes([("m", ["l", "c"]), ("l", ["a", "b"]), ("c", ["r"]), ("b", ["r"]), ("a", ["r"]), ("r", [])])
    assert [art for art, _ in rows] == [
        "*",
        "|\\",
        "* |",
        "|\\ \\",
        "| | *",
        "| * |",
        "* | |",
        "|_|/",
        "|/",
        "*",
    ]


def test_a_history_without_its_beginning_and_with_two_ends() -> None:
    commits = [commit(3, 2, age_s=3), commit(4, 3, age_s=4), commit(7, 6, age_s=1)]
    text = draw(commits, "accuracy", head=commit(4).id)
    assert [line.split()[:2] for line in text] == [
        ["*", "00000004"],
        ["*", "00000003"],
        [],
        ["*", "00000007"],
    ]
    assert text[0].endswith("  head")


def test_a_line_fits_80_columns_beside_four_lanes() -> None:
    tips = [commit(n, 0, age_s=n, coordinator="foxtrot-12") for n in (998, 997, 996, 995)]
    lines = draw([*tips, commit(0, coordinator="alpha")], "accuracy", head=tips[0].id)
    assert max(map(len, lines)) <= 80
    assert "000003e6  round 998  foxtrot-12   2 nodes   95.5 %   11.2 kB  head" in lines[0]
    assert [line[:7].rstrip() for line in lines[-4:]] == ["|_|_|/", "|_|/", "|/", "*"]


def test_examples() -> None:
    assert doctest.testmod(commit_graph).failed == 0
    assert draw([], "accuracy") == []

"""Bugs planted on purpose: each is a change to the product that the invariants must catch within 200 seeds.

python tests/simulation/planted.py [--seeds 200] [--write docs/notes/2026-11-28-planted-bugs.md] [NAME ...]
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import planted_adapting
import planted_borders
import planted_giving
import planted_history
import planted_planning
import planted_pruning
import planted_standins
import planted_trust
import planted_versions
from planting import BUGS

from muster.simulation.judging.check import Verdict, check

FILES = (
    planted_history,
    planted_borders,
    planted_planning,
    planted_pruning,
    planted_giving,
    planted_standins,
    planted_adapting,
    planted_trust,
    planted_versions,
)  # they fill the list


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """The product with one bug."""
    patches = BUGS[name][1]()
    before = [(owner, attribute, owner.__dict__[attribute]) for owner, attribute, _ in patches]
    try:
        for owner, attribute, value in patches:
            setattr(owner, attribute, value)
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)


def catch(name: str, seeds: int = 200, first: int = 0) -> tuple[int, Verdict] | None:
    """The first seed whose run a bug breaks."""
    with planted(name):
        for seed in range(first, first + seeds):
            verdict = check(seed)
            if not verdict.good:
                return seed, verdict
    return None


BEGIN, END = "<!-- planted bugs: written by tests/simulation/planted.py -->", "<!-- end of planted bugs -->"


def row(name: str, found: tuple[int, Verdict] | None) -> str:
    where, how = (str(found[0]), found[1].broken[0][:90]) if found else ("not yet", "")
    return f"| `{name}` | {BUGS[name][0]} | {where} | {how} |"


def write(path: Path, rows: dict[str, str]) -> None:
    """Put rows into the table of a page, in the place of older ones of the same name."""
    before, rest = path.read_text("utf-8").split(BEGIN)
    table, after = rest.split(END)
    known = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")} | rows
    head = "| planted bug | what it does | caught by seed | as |\n|---|---|---|---|"
    lines = [head, *(known[name] for name in BUGS if name in known)]
    path.write_text(before + BEGIN + "\n\n" + "\n".join(lines) + "\n\n" + END + after, "utf-8")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(BUGS))
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--write", type=Path, help="the page whose table gets the rows")
    given = parser.parse_args(arguments)
    missed = 0
    for name in given.names:
        found = catch(name, given.seeds)
        missed += found is None
        print(row(name, found), flush=True)
        if given.write is not None:
            write(given.write, {name: row(name, found)})
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

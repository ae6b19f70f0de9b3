"""Runs the cases of a benchmark of networks, each on networks of its own; what is done stands in a file."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from real_networks import RealNetworks, refusal

LINES_MAX = 40  # of each node's log, of a case that did not come about
Row = TypeVar("Row")


def measure(case: Callable[[RealNetworks], list[Row]]) -> list[Row]:
    """The rows of one case. Raises TimeoutError after it showed the nodes' logs."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder, RealNetworks(Path(folder)) as nets:
        try:
            return case(nets)
        except TimeoutError:
            for node in nets.daemons():
                print(f"--- {node}", *nets.said(node).splitlines()[-LINES_MAX:], sep="\n", flush=True)
            raise


def main(
    doc: str, cases: Mapping[str, Callable[[RealNetworks], list[Any]]], line: Callable[[Any], str]
) -> None:
    """The command of a benchmark; `line` shows a row as it is in the file."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*cases, []], help="default: all")
    parser.add_argument("--to", type=Path, help="a JSON file; cases that it has are left out")
    given = parser.parse_args()
    if (why := refusal()) is not None:
        raise SystemExit(why)
    rows: dict[str, list[dict[str, object]]] = {}
    if given.to is not None and given.to.exists():
        rows = json.loads(given.to.read_text())
    for case in given.cases or cases:
        if case not in rows:
            rows[case] = [asdict(one) for one in measure(cases[case])]
            if given.to is not None:
                given.to.write_text(json.dumps(rows, indent=1) + "\n")
        for row in rows[case]:
            print(line(row), flush=True)

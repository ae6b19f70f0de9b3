#!/usr/bin/env python3
"""Writes the generated parts of docs/: keys from structs, commands from click, claims from bench/results.

A part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`.

    python scripts/docs.py            write
    python scripts/docs.py --check    exit with 1 if a page is not what would be written
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from generators.claims import benchmark_sources, benchmarks
from generators.code_tables import limits, reactions
from generators.commands import command_line, commands_in_use, commands_of_nodes
from generators.keys import energy_presets, faults, node_configuration, scenarios, serve_configuration
from generators.python_api import python_api

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

PARTS = {
    "node": (DOCS / "configuration.md", node_configuration),
    "serve": (DOCS / "configuration.md", serve_configuration),
    "scenarios": (DOCS / "configuration.md", scenarios),
    "faults": (DOCS / "configuration.md", faults),
    "presets": (DOCS / "energy.md", energy_presets),
    "reactions": (DOCS / "architecture.md", reactions),
    "limits": (DOCS / "protocol.md", limits),
    "commands": (DOCS / "cli.md", command_line),
    "of nodes": (DOCS / "cli-nodes.md", commands_of_nodes),
    "in use": (DOCS / "cli-in-use.md", commands_in_use),
    "python": (DOCS / "python.md", python_api),
    "claims": (DOCS / "benchmarks.md", benchmarks),
    "sources": (DOCS / "benchmarks-sources.md", benchmark_sources),
}


def put(page: str, name: str, text: str) -> str:
    """`page` with the part `name` replaced by `text`."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


def pages() -> dict[Path, str]:
    """Each page with generated parts, as it should be."""
    found: dict[Path, str] = {}
    for name, (path, make) in PARTS.items():
        found[path] = put(found.get(path) or path.read_text("utf-8"), name, make())
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page is out of date")
    given = parser.parse_args(arguments)
    stale = [path for path, text in pages().items() if path.read_text("utf-8") != text]
    for path in stale:
        print(
            f"{path.relative_to(ROOT)} {'is out of date: run scripts/docs.py' if given.check else 'written'}"
        )
        if not given.check:
            path.write_text(pages()[path], "utf-8")
    return int(bool(stale) and given.check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

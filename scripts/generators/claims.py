"""The claims of bench/results/*.json as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from generators.markdown import table

RESULTS = Path(__file__).resolve().parents[2] / "bench" / "results"
UNKNOWN = "not recorded"
FIELDS = ("claim", "target", "value", "unit", "spread", "runs", "command", "commit", "machine", "date", "met")


def claims() -> list[dict[str, Any]]:
    """All results, those that miss their target first."""
    found = []
    for path in sorted(RESULTS.glob("*.json")):
        for entry in json.loads(path.read_text("utf-8")):
            missing = [field for field in FIELDS if field not in entry]
            if missing:
                raise SystemExit(f"{path.name}: {entry.get('claim', '?')!r} lacks {', '.join(missing)}")
            found.append({**entry, "subject": path.stem})
    return sorted(found, key=lambda e: (-1 if e["met"] is False else 0 if e["met"] else 1, e["subject"]))


def _short(field: str, letter: str) -> dict[str, str]:
    """What stands in the tables for each command, or machine: c1, c2, ... in the order of the claims."""
    found = dict.fromkeys(entry[field] for entry in claims() if entry[field] != UNKNOWN)
    return {value: f"{letter}{number}" for number, value in enumerate(found, 1)} | {UNKNOWN: "-"}


def benchmarks() -> str:
    """What misses its target, what meets it, what has none."""
    commands, machines = _short("command", "c"), _short("machine", "m")
    tables: dict[bool | None, list[tuple[str, ...]]] = {False: [], True: [], None: []}
    for entry in claims():
        by, on = commands[entry["command"]], machines[entry["machine"]]
        value = f"{entry['value']} {entry['unit']}".strip()
        when = " ".join(part for part in (entry["date"], entry["commit"]) if part != UNKNOWN) or "-"
        row = (entry["claim"], entry["target"], value, entry["spread"], str(entry["runs"]), by, on, when)
        tables[entry["met"]].append(row)
    head = ("claim", "target", "measured", "spread", "runs", "by", "on", "when, commit")
    parts = []
    for met, title in (
        (False, "Targets that are missed"),
        (True, "Targets that are met"),
        (None, "Without a target"),
    ):
        parts += [f"## {title}", "", table(head, tables[met]), ""]
    return "\n".join(parts).rstrip()


def benchmark_sources() -> str:
    """The commands and the machines that the claims name in short."""
    parts = []
    for title, field, letter, quote in (("Commands", "command", "c", "`"), ("Machines", "machine", "m", "")):
        named = [(short, value) for value, short in _short(field, letter).items() if value != UNKNOWN]
        parts += [f"## {title}", "", *(f"* {short}: {quote}{value}{quote}" for short, value in named), ""]
    return "\n".join(parts).rstrip()

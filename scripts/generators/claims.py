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


def benchmarks() -> str:
    """What misses its target, what meets it, what has none; then commands and machines."""
    commands: dict[str, str] = {}
    machines: dict[str, str] = {}
    tables: dict[bool | None, list[tuple[str, ...]]] = {False: [], True: [], None: []}
    for entry in claims():
        by, on = entry["command"], entry["machine"]
        by = "-" if by == UNKNOWN else commands.setdefault(by, f"c{len(commands) + 1}")
        on = "-" if on == UNKNOWN else machines.setdefault(on, f"m{len(machines) + 1}")
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
    parts += ["## Commands", "", *(f"* {short}: `{command}`" for command, short in commands.items()), ""]
    parts += ["## Machines", "", *(f"* {short}: {machine}" for machine, short in machines.items())]
    return "\n".join(parts)

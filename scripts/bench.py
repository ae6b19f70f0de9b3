#!/usr/bin/env python3
"""Runs one benchmark by name and files what it says, with command, commit, machine and date.

    python scripts/bench.py --list
    python scripts/bench.py idle_node -- --minutes 3

The output goes to bench/results/runs/NAME.json.  The claims of bench/results/*.json that come from this
benchmark are listed: put the new figures there by hand (also those that miss their target), then run
scripts/docs.py.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"


def benchmarks() -> dict[str, Path]:
    """name -> file of all that can be run by itself."""
    files = sorted((ROOT / "bench").glob("*/*.py"))
    return {path.stem: path for path in files if '__name__ == "__main__"' in path.read_text("utf-8")}


def machine() -> str:
    """Processor, cores, kernel, Python and load, as a result says it."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return (
        f"{os.cpu_count()} x {cpu}, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} before"
    )


def commit() -> str:
    """The short hash; with "+" where the tree differs from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return said.stdout.strip() or "not recorded"


def run(path: Path, arguments: list[str]) -> dict[str, Any]:
    """Run it, its output shown as it comes; its own JSON where it has an option for that."""
    shown = ["python", str(path.relative_to(ROOT)), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        extra = ["--json", str(out)] if '"--json"' in path.read_text("utf-8") else []
        where, began_s = machine(), time.monotonic()
        lines: list[str] = []
        child = subprocess.Popen(
            [sys.executable, str(path), *arguments, *extra], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for line in child.stdout:
            sys.stdout.write(line)
            lines.append(line.rstrip())
        code = child.wait()
        return {
            "command": " ".join(shown),
            "commit": commit(),
            "machine": where,
            "date": datetime.date.today().isoformat(),
            "seconds": round(time.monotonic() - began_s, 1),
            "exit": code,
            "result": json.loads(out.read_text("utf-8")) if out.exists() else None,
            "output": lines[-200:],
        }


def claims(path: Path) -> list[str]:
    """What is claimed from this benchmark, as `file: claim`."""
    found = []
    for file in sorted(RESULTS.glob("*.json")):
        for entry in json.loads(file.read_text("utf-8")):
            if str(path.relative_to(ROOT)) in entry["command"]:
                found.append(f"{file.relative_to(ROOT)}: {entry['claim']}: {entry['value']} {entry['unit']}")
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", help="of a benchmark")
    parser.add_argument("arguments", nargs="*", help="of the benchmark, behind --")
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    given = parser.parse_args(arguments)
    known = benchmarks()
    if given.list or given.name is None:
        for name, path in known.items():
            says = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            print(f"{name:20} {says.splitlines()[0]}")
        return 0
    if given.name not in known:
        parser.error(f"there is no benchmark {given.name!r}: see --list")
    result = run(known[given.name], given.arguments)
    to = RESULTS / "runs" / f"{given.name}.json"
    to.parent.mkdir(exist_ok=True)
    to.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"\nfiled in {to.relative_to(ROOT)}; claims that come from it:")
    print("\n".join(claims(known[given.name])) or "none")
    return int(result["exit"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

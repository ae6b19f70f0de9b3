"""What the seeds of a report say together, put into a page.

muster check --seed 0 --seeds 2000 --hours 1 --jobs 2 --report seeds.jsonl
python tests/simulation/seeds.py seeds.jsonl --write docs/reliability.md --note "where and when it ran"
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from muster.simulation.judging.check import Verdict
from muster.simulation.judging.report import load, summary

BEGIN, END = "<!-- seeds: written by tests/simulation/seeds.py -->", "<!-- end of seeds -->"


def table(verdicts: list[Verdict], note: str) -> str:
    """The summary for people; failing seeds by name."""
    s = summary(verdicts)
    first, last = min(v.seed for v in verdicts), max(v.seed for v in verdicts)
    lines = [
        f"{note}",
        "",
        "| | |",
        "|---|---|",
        f"| seeds run, an hour each | {s.seeds} (of {first} to {last}) |",
        f"| in which a fault took effect while a job ran: these count | {s.counted} |",
        f"| of these hold | {s.held} |",
        f"| fail | {len(s.failed)}{': ' + ', '.join(map(str, s.failed)) if s.failed else ''} |",
        f"| faults that took effect while a job ran | {s.faults} |",
        f"| rounds, merges | {sum(v.rounds for v in verdicts)}, {sum(v.merges for v in verdicts)} |",
        f"| updates acknowledged | {sum(v.acknowledged for v in verdicts)} |",
        f"| time of one core for a seed: mean, median, worst | {s.mean_s:.2f} s, {s.median_s:.2f} s, "
        f"{s.worst_s:.2f} s (seed {s.worst_seed}) |",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--write", type=Path, help="the page")
    parser.add_argument("--note", default="", help="a sentence above the table: machine, day, commit")
    given = parser.parse_args(arguments)
    verdicts = load(given.report)
    if not verdicts:
        print(f"{given.report} has no seeds yet")
        return 1
    text = table(verdicts, given.note)
    print(text)
    if given.write is not None:
        page = given.write.read_text("utf-8")
        before, rest = page.split(BEGIN)
        given.write.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Gives millions of records of every type, and mangled coresets, to what reads them, and counts what fails.

python scripts/fuzz.py --inputs 1000000 --state fuzz.json        # goes on where it stopped
python scripts/fuzz.py --minutes 5 --state fuzz.json --first 1000

A block of records and of coresets comes from one seed.  The state names the next seed; findings are printed
and kept.  A finding names the last of the up to `EVERY` records that may be its cause; the seed of its block
gives the rest.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "protocol"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "coresets" / "coding"))

import numpy as np
from consumers import Consumers, as_text
from mangled import mangled, message, outcome

from generators import ByChance, Generator

BLOCK = 1000
CORESETS = 5  # each of them mangled in MANGLED ways
MANGLED = 10
EVERY = 4  # records after which everything decides and reads; the test of a minute does it after each


def block(seed: int) -> tuple[Counter[str], list[str]]:
    """What came of the records of one seed."""
    consumers = Consumers(EVERY)
    generator = Generator(ByChance(random.Random(seed)), consumers.around)
    counts: Counter[str] = Counter()
    findings = []
    for _ in range(BLOCK):
        author, record = generator.record()
        try:
            taken = consumers.give(author, record)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{place.filename}:{place.lineno}"
            findings.append(f"seed {seed}: {type(error).__name__} at {where}: {error}: {as_text(record)}")
            counts["findings"] += 1
            consumers.begin()
            continue
        counts[f"{record.KIND} {'taken' if taken else 'refused'}"] += 1
    consumers.close()
    coreset_counts, coreset_findings = coresets(seed)
    return counts + coreset_counts, findings + coreset_findings


def coresets(seed: int) -> tuple[Counter[str], list[str]]:
    rng, counts, findings = np.random.default_rng(seed), Counter[str](), []
    for _ in range(CORESETS):
        data, space = message(rng)
        for _ in range(MANGLED):
            changed = mangled(rng, data)
            try:
                counts[outcome(changed, space)] += 1
            except Exception as error:
                findings.append(f"seed {seed}: {type(error).__name__}: {error}: {changed.hex()} as {space}")
                counts["findings"] += 1
    return counts, findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000_000, help="in all, with those of earlier runs")
    parser.add_argument("--minutes", type=float, default=1e9, help="of this run")
    parser.add_argument("--first", type=int, default=0, help="the first seed, for runs side by side")
    parser.add_argument("--state", type=Path, default=Path("fuzz.json"))
    given = parser.parse_args()
    state = {"seed": given.first, "inputs": 0, "seconds": 0.0, "counts": {}, "findings": []}
    if given.state.exists():
        state = json.loads(given.state.read_text())
    began_s = time.monotonic()
    while state["inputs"] < given.inputs and time.monotonic() - began_s < given.minutes * 60:
        at_s = time.process_time()
        counts, findings = block(state["seed"])
        state["counts"] = dict(Counter(state["counts"]) + counts)
        state["findings"] = (state["findings"] + findings)[:1000]
        state["seed"] += 1
        state["inputs"] += BLOCK
        state["seconds"] += time.process_time() - at_s
        part = given.state.with_suffix(".part")
        part.write_text(json.dumps(state, indent=1))
        part.replace(given.state)  # a run that is killed here loses nothing
        for finding in findings:
            print(finding[:700])
    print(f"{state['inputs']} inputs, {len(state['findings'])} findings, {state['seconds']:.0f} s of a core")
    for kind, count in sorted(state["counts"].items()):
        print(f"  {count:9} {kind}")
    return 1 if state["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())

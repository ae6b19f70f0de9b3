"""Whether a change leaves the simulation's behaviour alone: traces of many seeds, written and compared.

python scripts/traces.py write            # before the change: scripts/traces.json
python scripts/traces.py compare          # after it; `--first 12` compares only the first twelve seeds

Two hashes a seed: `records` covers which record each node wrote and when; `all` also what nodes said (their
events), which a new wording changes and nothing else may.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from multiprocessing import get_context
from pathlib import Path

from muster.simulation.archive import Archive
from muster.simulation.judging.check import play
from muster.simulation.schedule import draw

FILE = Path(__file__).parent / "traces.json"
SEEDS = 70


def trace(seed: int) -> tuple[int, str, str]:
    """The seed's hashes: of records alone, and of everything."""
    records = hashlib.sha256()
    wrote = Archive.wrote

    def noted(self, now_s, name, record_id, wire):  # type: ignore[no-untyped-def]
        records.update(b"%.6f %s " % (now_s, name.encode()) + record_id)
        wrote(self, now_s, name, record_id, wire)

    Archive.wrote = noted
    try:
        run = play(draw(seed, 1.0))
    finally:
        Archive.wrote = wrote
    assert run.world is not None
    return seed, records.hexdigest()[:16], run.world.archive.trace() + ("" if not run.found else " broken")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["write", "compare"])
    parser.add_argument("--first", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    with get_context("spawn").Pool(given.jobs) as pool:
        found = {str(s): [r, a] for s, r, a in pool.imap_unordered(trace, range(given.first))}
    if given.what == "write":
        FILE.write_text(json.dumps(dict(sorted(found.items(), key=lambda kv: int(kv[0]))), indent=0) + "\n")
        return 0
    kept = json.loads(FILE.read_text())
    records = [s for s, (r, _) in found.items() if kept[s][0] != r]
    words = [s for s, (_, a) in found.items() if kept[s][1] != a]
    print(f"{len(found)} seeds; records differ: {sorted(map(int, records))}; words differ: {len(words)}")
    return 1 if records else 0


if __name__ == "__main__":
    sys.exit(main())

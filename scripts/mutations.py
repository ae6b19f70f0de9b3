"""Prints the mutation table: what each nasty value in each field of each record does to a fleet.

python scripts/mutations.py                 # all of it, some minutes; a row a field
python scripts/mutations.py --every 10      # a tenth of it
python scripts/mutations.py --each          # a row a mutant
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "protocol"))

from tables import Row, table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--each", action="store_true")
    given = parser.parse_args()
    rows: dict[str, list[Row]] = defaultdict(list)
    total: Counter[str] = Counter()
    for row in table(given.every):
        field = re.sub(r"\[(first|last)\]", "", row.field.partition(":")[2])
        rows[field].append(row)
        total[row.outcome] += 1
        if given.each:
            print(f"{row.field} = {str(row.value)[:40]!r}: {row.outcome}  {row.why[:120]}")
    if not given.each:
        print("| field | values | refused | taken, without harm | harm |\n|---|---|---|---|---|")
        for field, found in sorted(rows.items()):
            counts = Counter(row.outcome for row in found)
            harm = len(found) - counts["refused"] - counts["taken"]
            print(f"| {field} | {len(found)} | {counts['refused']} | {counts['taken']} | {harm} |")
    harm = sum(total.values()) - total["refused"] - total["taken"]
    print(
        f"\n{sum(total.values())} mutants: {total['refused']} refused, {total['taken']} taken, {harm} do harm"
    )
    for found in rows.values():
        for row in found:
            if row.outcome not in ("refused", "taken"):
                print(f"* {row.field} = {str(row.value)[:60]!r}: {row.outcome}: {row.why}")
    return 1 if harm else 0


if __name__ == "__main__":
    sys.exit(main())

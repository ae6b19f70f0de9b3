"""Writes the files of tests/golden of this version: records of every kind, and a home.

python scripts/golden.py

Versions that were released are never written again: all later ones must read what they wrote.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "protocol"))

from goldens import RELEASED, VERSION, of_this_version, write


def main() -> int:
    if VERSION <= RELEASED:
        print(f"version {VERSION} was released: its files stay as they are; raise VERSION", file=sys.stderr)
        return 2
    write(of_this_version())
    size = sum(path.stat().st_size for path in of_this_version().rglob("*") if path.is_file())
    print(f"{of_this_version()}: {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

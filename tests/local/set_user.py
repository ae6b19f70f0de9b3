"""A process that uses a local set: `python set_user.py PATH WHAT FIRST N`; prints what was confirmed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from muster.local.database import LocalFault
from muster.local.limits import Limits
from muster.local.local_set import LocalSet
from muster.local.rows import Answered


def main(path: Path, what: str, first: int, n: int) -> None:
    limits = Limits(unlabelled=200, per_second=10**9, labelled=10**6, free_bytes=0)
    noise = np.random.default_rng(first)
    with LocalSet.open(path, limits) as local:
        for i in range(first, first + n):
            x = noise.integers(0, 255, 2000).astype(np.uint8)
            try:
                if what == "label":
                    done: int | None = local.add_labelled(x, i)
                else:
                    done = local.add_answers([Answered(f"{i}", x, 1, None, "v")])[0]
            except LocalFault as fault:
                print("fault", fault.code, fault.sentence, flush=True)
                return
            print(i, done, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

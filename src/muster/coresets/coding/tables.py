"""Tables in few bits: a value under its column and its row's group, and under the column before it.

The values on one slanted line (row + column) are coded together: each knows all rows above in its column, and
its own row up to it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.adaptive import Chain, Contexts, table_bits
from muster.coresets.coding.binary_coder import Coder

_TRUSTS = 6, 6, 6, 6
_GROUP_BITS = 16


def code_table(
    coder: Coder, groups: NDArray[np.int64], columns: int, bits: int, levels: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """(rows, columns) levels of `bits` bits; `groups`: each row's class. `levels` None: they are read."""
    rows = len(groups)
    chain = Chain(_TRUSTS, table_bits(rows * columns * bits))
    seen = np.zeros((rows, columns + 1), np.uint8)  # with a column of zeros before the first
    for line in range(rows + columns - 1):
        row = np.arange(max(0, line - columns + 1), min(rows - 1, line) + 1)
        column = line - row
        values = None if levels is None else levels[row, column].astype(np.int64)
        contexts = _contexts(column, groups[row], seen[row, column], bits)
        seen[row, column + 1] = chain.code(coder, contexts, bits, values)
    return seen[:, 1:].copy()


def _contexts(
    column: NDArray[np.int64], groups: NDArray[np.int64], before: NDArray[np.uint8], bits: int
) -> Contexts:
    """Nothing; the level before; column and group; these and the highest two bits of the level before."""
    contexts = np.zeros((len(_TRUSTS), column.size), np.uint64)
    contexts[1] = before.astype(np.uint64) + np.uint64(1)
    contexts[2] = ((column + 1) << _GROUP_BITS) + groups << 8
    contexts[3] = contexts[2] + (before >> max(0, bits - 2)) + np.uint64(1)
    return contexts

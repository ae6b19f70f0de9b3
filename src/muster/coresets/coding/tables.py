"""Tables in few bits: a value under its column and its row's group, and under the column before it.

The values on one slanted line (row + column) are coded together: each knows all rows above in its column, and
its own row up to it.  Several rows of a long table are one there, and a wide one is cut into parts side by
side, so that there are few lines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.adaptive import Chain, Contexts, table_bits
from muster.coresets.coding.binary_coder import Coder

_TRUSTS = 6, 6, 6, 6
_GROUP_BITS = 16
_LINES = 1024  # in each direction, at most

Whole = NDArray[np.int64]


def code_table(
    coder: Coder, groups: Whole, columns: int, bits: int, levels: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """(rows, columns) levels of `bits` bits; `groups`: each row's class. `levels` None: they are read."""
    rows = len(groups)
    chain = Chain(_TRUSTS, table_bits(rows * columns * bits))
    seen = np.zeros((rows, columns), np.uint8)
    parts = -(-columns // _LINES)
    across, together = -(-columns // parts), -(-rows // _LINES)
    for line in range(across + -(-rows // together) - 1):
        row, column = _on_line(line, rows, columns, across, together)
        values = None if levels is None else levels[row, column].astype(np.int64)
        before = np.where(column % across == 0, 0, seen[row, column - 1])
        seen[row, column] = chain.code(coder, _contexts(column, groups[row], before, bits), bits, values)
    return seen


def _on_line(line: int, rows: int, columns: int, across: int, together: int) -> tuple[Whole, Whole]:
    """Rows and columns of the values on a line; parts are `across` wide, `together` rows are one."""
    row = np.arange(max(0, line - across + 1) * together, min(rows, (line + 1) * together))
    column = (line - row // together)[:, None] + np.arange(0, columns, across)
    row = np.broadcast_to(row[:, None], column.shape)
    inside = column < columns
    return row[inside], column[inside]


def _contexts(column: Whole, groups: Whole, before: NDArray[np.uint8], bits: int) -> Contexts:
    """Nothing; the level before; column and group; these and the highest two bits of the level before."""
    contexts = np.zeros((len(_TRUSTS), column.size), np.uint64)
    contexts[1] = before.astype(np.uint64) + np.uint64(1)
    contexts[2] = ((column + 1) << _GROUP_BITS) + groups << 8
    contexts[3] = contexts[2] + (before >> max(0, bits - 2)) + np.uint64(1)
    return contexts

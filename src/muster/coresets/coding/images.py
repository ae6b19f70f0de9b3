"""Images in few bits: each pixel under its neighbours above and to the left, as JBIG does (ITU-T T.82).

The pixels of all images that lie on one slanted line (column + 3 * row) are coded together: their neighbours
are on lines before it.  So there are few long steps, not one a pixel, and counts learn from line to line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.adaptive import Chain, table_bits
from muster.coresets.coding.binary_coder import Coder

_SLANT = 3
_NEIGHBOURS = (  # (row, column) from the pixel, the nearest first
    *((0, -1), (-1, 0), (-1, -1), (-1, 1)),
    *((0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1)),
    *((0, -3), (-2, 2), (-2, -2), (-3, 0)),
)
_ABOVE, _LEFT, _RIGHT = 3, 3, 2  # how far they reach
_CHANNELS = np.uint64(4)  # the first ones have contexts of their own


@dataclass(frozen=True)
class _Link:
    """A context: the `whole` nearest neighbours, the highest bits of those up to `near`, the median."""

    trust: int
    near: int
    whole: int = 0
    high_bits: int = 1
    median: bool = False  # of the three nearest and their plane (LOCO-I, Weinberger et al. 2000)


_ONE_BIT = (_Link(2, 4), _Link(4, 10), _Link(12, 14))
_FEW_BITS = (_Link(2, 4), _Link(4, 4, 2), _Link(6, 10, 2), _Link(8, 14, 4))
_MANY_BITS = (
    _Link(4, 4),
    _Link(8, 4, median=True),
    _Link(12, 4, 2, 2),
    _Link(16, 10, 2),
    _Link(16, 10, 4, 2),
)


def code_images(
    coder: Coder, count: int, shape: tuple[int, ...], bits: int, levels: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """(count, *shape) levels of `bits` bits; `levels` None: they are read."""
    rows, columns = shape[-2:]
    channels = int(np.prod(shape[:-2], dtype=np.int64))
    given = None if levels is None else levels.reshape(count, channels, rows, columns)
    width = _LEFT + columns + _RIGHT
    seen = np.zeros((channels, (_ABOVE + rows) * width, count), np.uint8)  # with zeros around
    links = _ONE_BIT if bits == 1 else _FEW_BITS if bits < 4 else _MANY_BITS
    chain = Chain(tuple(link.trust for link in links), table_bits(count * channels * rows * columns * bits))
    for line in range(columns + _SLANT * (rows - 1)):
        row = np.arange(max(0, -(-(line - columns + 1) // _SLANT)), min(rows - 1, line // _SLANT) + 1)
        column = line - _SLANT * row
        places = (row + _ABOVE) * width + column + _LEFT
        for channel in range(channels):
            values = None if given is None else given[:, channel, row, column].T.reshape(-1).astype(np.int64)
            contexts = _contexts(seen, channel, places, width, bits, links)
            seen[channel, places] = chain.code(coder, contexts, bits, values).reshape(-1, count)
    inside = seen.reshape(channels, _ABOVE + rows, width, count)[:, _ABOVE:, _LEFT : _LEFT + columns]
    return np.ascontiguousarray(inside.transpose(3, 0, 1, 2)).reshape(count, *shape)


def _contexts(
    seen: NDArray[np.uint8],
    channel: int,
    places: NDArray[np.int64],
    width: int,
    bits: int,
    links: tuple[_Link, ...],
) -> NDArray[np.uint64]:
    """(links, pixels): what each link knows of each pixel, as one number."""
    reach = max(link.near for link in links)
    around = [
        seen[channel, places + (row * width + column)].reshape(-1).astype(np.uint64)
        for row, column in _NEIGHBOURS[:reach]
    ]
    before = around[0] * np.uint64(0) + np.uint64(min(channel, 3))
    if channel:
        before += seen[channel - 1, places].reshape(-1).astype(np.uint64) * _CHANNELS
    contexts = np.empty((len(links), around[0].size), np.uint64)
    for number, link in enumerate(links):
        context = before.copy()
        for index in range(link.near):
            kept = bits if index < link.whole else min(bits, link.high_bits)
            context = (context << np.uint64(kept)) | (around[index] >> np.uint64(bits - kept))
        if link.median:
            context = (context << np.uint64(bits)) | _median(*around[:3])
        contexts[number] = context
    return contexts


def _median(
    left: NDArray[np.uint64], above: NDArray[np.uint64], corner: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    low, high = np.minimum(left, above), np.maximum(left, above)
    median: NDArray[np.uint64] = np.clip(left + above, corner + low, corner + high) - corner
    return median

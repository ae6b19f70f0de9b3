"""Images in few bits: each pixel under its neighbours above and to the left, as JBIG does (ITU-T T.82).

The pixels of all images that lie on one slanted line (column + 3 * row) are coded together: their neighbours
are on lines before it.  So there are few long steps, not one a pixel, and counts learn from line to line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.adaptive import Chain, Contexts, table_bits
from muster.coresets.coding.binary_coder import Coder
from muster.coresets.coding.checks import SLANT
from muster.coresets.coding.error import CoresetError

_NEIGHBOURS = (  # (row, column) from the pixel, the nearest first
    *((0, -1), (-1, 0), (-1, -1), (-1, 1)),
    *((0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1)),
    *((0, -3), (-2, 2), (-2, -2), (-3, 0)),
)
_ABOVE, _LEFT, _RIGHT = 3, 3, 2  # how far they reach
_SEEN_MAX = 1 << 26  # bytes


@dataclass(frozen=True)
class _Link:
    """A context: the nearest `whole` neighbours, high bits of those up to `near`, and of the prediction."""

    trust: int
    near: int
    whole: int = 0
    high_bits: int = 1
    predicted_bits: int = 0


_ONE_BIT = _Link(2, 4), _Link(4, 10), _Link(12, 14)
_FEW_BITS = _Link(4, 4), _Link(8, 4, 2), _Link(8, 10, 2), _Link(8, 10, 4), _Link(12, 14, 6)
_MANY_BITS = (
    _Link(4, 4),
    _Link(8, 4, predicted_bits=5),
    _Link(12, 4, predicted_bits=8),
    _Link(16, 4, high_bits=2, predicted_bits=8),
    _Link(20, 10, whole=2),
)
_FEW = 4  # bits; up to so many the channel before is a context itself, with more it corrects the prediction


def code_images(
    coder: Coder, count: int, planes: tuple[int, int, int], bits: int, levels: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """(count, channels, rows, columns) levels of `bits` bits; `levels` None: they are read."""
    channels, rows, columns = planes
    width = _LEFT + columns + _RIGHT
    if channels * (_ABOVE + rows) * width * count > _SEEN_MAX:
        raise CoresetError(f"{count} images of {columns} x {rows} are too many; fewer would do")
    seen = np.zeros((channels, (_ABOVE + rows) * width, count), np.uint8)  # with zeros around
    links = _ONE_BIT if bits == 1 else _FEW_BITS if bits <= _FEW else _MANY_BITS
    chain = Chain(tuple(link.trust for link in links), table_bits(count * channels * rows * columns * bits))
    for line in range(columns + SLANT * (rows - 1)):
        row = np.arange(max(0, -(-(line - columns + 1) // SLANT)), min(rows - 1, line // SLANT) + 1)
        column = line - SLANT * row
        places = (row + _ABOVE) * width + column + _LEFT
        for channel in range(channels):
            values = (
                None if levels is None else levels[:, channel, row, column].T.reshape(-1).astype(np.int64)
            )
            contexts = _contexts(seen, channel, places, width, bits, links)
            seen[channel, places] = chain.code(coder, contexts, bits, values).reshape(-1, count)
    inside = seen.reshape(channels, _ABOVE + rows, width, count)[:, _ABOVE:, _LEFT : _LEFT + columns]
    return np.ascontiguousarray(inside.transpose(3, 0, 1, 2))


def _contexts(
    seen: NDArray[np.uint8],
    channel: int,
    places: NDArray[np.int64],
    width: int,
    bits: int,
    links: tuple[_Link, ...],
) -> Contexts:
    """(links, pixels): what each link knows of each pixel, as one number."""
    reach = max(link.near for link in links)
    around = [
        seen[channel, places + (row * width + column)].reshape(-1).astype(np.uint64)
        for row, column in _NEIGHBOURS[:reach]
    ]
    start = np.full(around[0].shape, min(channel, 1), np.uint64)
    if channel and bits <= _FEW:
        start += seen[channel - 1, places].reshape(-1).astype(np.uint64) << np.uint64(1)
    predicted = _predicted(seen, channel, places, width, bits) if bits > _FEW else start
    contexts = np.empty((len(links), start.size), np.uint64)
    for number, link in enumerate(links):
        context = start
        for index in range(link.near):
            kept = bits if index < link.whole else min(bits, link.high_bits)
            context = (context << np.uint64(kept)) | (around[index] >> np.uint64(bits - kept))
        if link.predicted_bits:
            kept = min(bits, link.predicted_bits)
            context = (context << np.uint64(kept)) | (predicted >> np.uint64(bits - kept))
        contexts[number] = context
    return contexts


def _predicted(
    seen: NDArray[np.uint8], channel: int, places: NDArray[np.int64], width: int, bits: int
) -> NDArray[np.uint64]:
    """The median of the pixels left and above and of their plane (LOCO-I, Weinberger et al. 2000).

    It is corrected by what it missed in the channel before.
    """
    predicted = _median(seen[channel], places, width)
    if channel:
        predicted += seen[channel - 1, places].reshape(-1) - _median(seen[channel - 1], places, width)
    return np.clip(predicted, 0, (1 << bits) - 1).astype(np.uint64)


def _median(plane: NDArray[np.uint8], places: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    left, above, corner = (
        plane[places + offset].reshape(-1).astype(np.int64) for offset in (-1, -width, -width - 1)
    )
    median: NDArray[np.int64] = np.clip(
        left + above - corner, np.minimum(left, above), np.maximum(left, above)
    )
    return median

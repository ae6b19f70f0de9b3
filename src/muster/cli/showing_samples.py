"""A sample as text: pictures as blocks, rows as values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHADES = " .:-=+*#%@"  # dark to bright, as on a dark terminal; each pixel is two characters wide
COLUMNS_MAX = 48  # pixels
VALUES_MAX = 40


def shown(x: NDArray[Any]) -> list[str]:
    """Lines of at most 96 characters."""
    grey = _grey(x)
    return _values(x) if grey is None else _picture(grey)


def _grey(x: NDArray[Any]) -> NDArray[np.float64] | None:
    """Brightness by row and column; None: it is no picture."""
    plain = x.astype(np.float64)
    if x.ndim == 3 and x.shape[0] in (1, 3, 4):
        plain = plain[:3].mean(0)
    elif x.ndim == 3 and x.shape[2] in (1, 3, 4):
        plain = plain[..., :3].mean(2)
    return plain if plain.ndim == 2 and min(plain.shape) >= 4 else None


def _picture(grey: NDArray[np.float64]) -> list[str]:
    step = -(-grey.shape[1] // COLUMNS_MAX)
    rows, columns = (size // step * step for size in grey.shape)
    small = grey[:rows, :columns].reshape(rows // step, step, columns // step, step).mean((1, 3))
    low, high = small.min(), small.max()
    places = (
        ((small - low) / (high - low) * (len(SHADES) - 1)).round() if high > low else np.zeros(small.shape)
    )
    return ["".join(2 * SHADES[int(place)] for place in row) for row in places]


def _values(x: NDArray[Any]) -> list[str]:
    flat = x.reshape(-1)
    texts = [f"{float(value):.6g}" for value in flat[:VALUES_MAX]]
    more = f" and {len(flat) - VALUES_MAX} more" if len(flat) > VALUES_MAX else ""
    lines, line = [], ""
    for text in texts:
        if len(line) + len(text) > 90:
            lines.append(line.rstrip())
            line = ""
        line += f"{text}  "
    return [*lines, line.rstrip() + more]

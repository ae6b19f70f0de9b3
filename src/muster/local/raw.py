"""One sample as bytes: a header with dtype and shape, then the elements, deflated where that pays.

1 byte   bit 7: deflated; the others: the dtype's place in DTYPES
1 byte   the number of axes
4 bytes  each axis, little endian
rest     the elements in C order, little endian
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.errors import MusterError

# Places are kept in files: add at the end only.
DTYPES = (
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64", "bool"),
)
AXES_MAX = 8
SAMPLE_BYTES_MAX = 16_000_000
_DEFLATED = 0x80
_TRIED_BYTES = 16_384  # of a large sample, to see whether deflating pays
_PAYS_BELOW = 0.9


def encode(x: Any, size_max: int = SAMPLE_BYTES_MAX) -> bytes:
    """`x`, an array or what numpy makes one of.  Raises MusterError("bad_data") for what cannot be kept."""
    array = np.asarray(x)
    if array.dtype.name not in DTYPES:
        raise MusterError("bad_data", f"a sample of dtype {array.dtype} cannot be kept: give numbers")
    if array.ndim > AXES_MAX or array.nbytes > size_max:
        raise MusterError(
            "bad_data",
            f"a sample of shape {array.shape} takes {array.nbytes:,} bytes: at most {size_max:,} bytes and"
            f" {AXES_MAX} axes are kept",
        )
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    body, deflated = _deflated(plain)
    kind = DTYPES.index(array.dtype.name) | (_DEFLATED if deflated else 0)
    return struct.pack(f"<BB{array.ndim}I", kind, array.ndim, *array.shape) + body


def decode(data: bytes, size_max: int = SAMPLE_BYTES_MAX) -> NDArray[Any]:
    """Raises ValueError for bytes that `encode` does not make, or for more than `size_max` bytes."""
    try:
        kind, axes = struct.unpack_from("<BB", data)
        place = kind & ~_DEFLATED
        if place >= len(DTYPES) or axes > AXES_MAX:
            raise ValueError("no sample: its header is wrong")
        shape = struct.unpack_from(f"<{axes}I", data, 2)
        dtype = np.dtype(DTYPES[place])
        size = math.prod(shape) * dtype.itemsize
        if size > size_max:
            raise ValueError(f"a sample of {size} bytes is too large")
        body = data[2 + 4 * axes :]
        if kind & _DEFLATED:
            inflater = zlib.decompressobj()
            body = inflater.decompress(body, size + 1)
            if not inflater.eof:
                raise ValueError("no sample: its bytes do not end where they should")
        if len(body) != size:
            raise ValueError("no sample: it is longer or shorter than its shape")
    except (struct.error, zlib.error) as error:
        raise ValueError(f"no sample: {error}") from error
    return np.frombuffer(body, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _deflated(plain: bytes) -> tuple[bytes, bool]:
    if len(plain) > _TRIED_BYTES:
        part = plain[:_TRIED_BYTES]
        if len(zlib.compress(part, 1)) > _PAYS_BELOW * len(part):
            return plain, False
    body = zlib.compress(plain, 1)
    return (body, True) if len(body) <= _PAYS_BELOW * len(plain) else (plain, False)

"""What a codec is: a small frozen value that turns one float32 vector into bytes and back.

A message decodes from itself and the vector's length alone, element by element in fp32: only table look-ups,
single IEEE multiplications and exact conversions, no sums and no library functions whose last bit differs
between processors, so that every node rebuilds the same bits on x86 and on Arm.

    message = 1 byte (family << 5 | parameter), then the family's parameters, then its body

Families 0 to 6 are taken.  A new one takes the next number from 8 on and costs two bytes more:

    message = 0xFF, the family's number, 1 byte (parameter), then as above

Lengths that follow from the vector's length or from the parameters are not sent.  To add a codec write one
file with one class that fits `Codec` and name it in `families.py`; `naming.py` has what their names share.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from muster.protocol.varint import VarintError, decode_varint

Vector: TypeAlias = NDArray[np.float32]  # one-dimensional
Message: TypeAlias = bytes | memoryview

SIZE_MAX = (1 << 31) - 1  # elements of one vector
COUNT_BYTES_MAX = 5  # of a count in a message
DENSITY_MAX = 0.2  # of the sparse codecs; beyond it quant4 is the better bargain
ESCAPE = 7  # the family number that is no codec: `model.py` marks its composed messages with it
MORE_FAMILIES = ESCAPE << 5 | 31  # a first byte that no composed message has: the family is the next byte

# Magnitudes below this are sent as zero.  With it no decoder ever meets a denormal number, which 32-bit
# Arm flushes to zero and others do not.
TINY = 2.0**-100
BLOCK = 1 << 16  # elements worked on at a time, so that temporaries stay small
FINITE_BLOCK = 1 << 18  # the same where a temporary has one byte an element

_NUMBER = re.compile(r"[0-9]*\.?[0-9]+(e-?[0-9]+)?")  # float() alone would also take " 0_0.1"


class CodecError(ValueError):
    """The message cannot be decoded, or the vector not be encoded; one sentence says why."""


class Codec(Protocol):
    """Encodes and decodes vectors. Values of one class differ in their parameters; `name` has them all."""

    FAMILY: ClassVar[int]

    @property
    def name(self) -> str:
        """Full description that `parse` reads back exactly, e.g. "stc:0.02"."""

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The codec called `name`; None when the name is of another family. Raises CodecError."""

    @classmethod
    def form(cls) -> str:
        """How names of this family are written, e.g. "stc:DENSITY"."""

    @classmethod
    def examples(cls) -> tuple[str, ...]:
        """Names of this family that tests and benchmarks go through."""

    def encode(self, vector: Vector, rng: np.random.Generator) -> bytes:
        """The message for `vector` (finite float32, 1-D). Only stochastic codecs draw from `rng`."""

    @classmethod
    def decode(cls, data: Message, size: int) -> Vector:
        """The vector of `size` elements in `data`. Raises CodecError for anything else than a message.

        `data` begins with the byte whose low five bits are the parameter.
        """

    def estimate_bytes(self, size: int) -> int:
        """About how long the message for a vector of `size` elements gets."""


class Nearest(np.random.Generator):
    """In place of chance: the middle, so that a codec that rounds at random takes the nearest level."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        return np.full(size, 0.5, dtype)


def first_byte(family: int, parameter: int = 0) -> bytes:
    """The first byte of a message, with what says its family: two bytes more for a family from 8 on."""
    assert 0 <= family < 256
    assert family != ESCAPE
    assert 0 <= parameter < 32
    return bytes((family << 5 | parameter,) if family < ESCAPE else (MORE_FAMILIES, family, parameter))


def split_family(data: Message) -> tuple[int, Message]:
    """The family of a message, and the message from the byte with its parameter on. Raises CodecError."""
    if not data:
        raise CodecError("the message is empty")
    if data[0] != MORE_FAMILIES:
        return data[0] >> 5, data
    if len(data) < 3:
        raise CodecError("the message ends too early")
    return data[1], data[2:]


def check_vector(vector: Vector) -> None:
    """Raises CodecError unless `vector` can be encoded."""
    if vector.ndim != 1 or vector.dtype != np.float32:
        raise CodecError(f"codecs take a 1-D float32 vector, not {vector.ndim}-D {vector.dtype}")
    if vector.size > SIZE_MAX:
        raise CodecError(f"a vector of {vector.size} elements is over the limit of {SIZE_MAX}")
    if not all_finite(vector):
        raise CodecError("the vector holds NaN or infinite values: training has diverged, lower the rate")


def all_finite(vector: Vector) -> bool:
    """Whether no element is NaN or infinite; looked at in blocks, which stay in the processor's cache."""
    starts = range(0, vector.size, FINITE_BLOCK)
    return all(np.isfinite(vector[i : i + FINITE_BLOCK]).all() for i in starts)


def check_size(size: int) -> None:
    """Raises CodecError unless a vector can have `size` elements."""
    if not 0 <= size <= SIZE_MAX:
        raise CodecError(f"a vector cannot have {size} elements")


def raw_bytes(array: NDArray[Any]) -> memoryview:
    """A contiguous array's bytes without a copy."""
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


def take_count(data: Message, offset: int) -> tuple[int, int]:
    """(count, offset behind it). Raises CodecError; counts are below 2**35."""
    try:
        return decode_varint(data, offset, bytes_max=COUNT_BYTES_MAX)
    except VarintError as error:
        raise CodecError(str(error)) from error


def parse_density(text: str, name: str) -> float:
    """A density in (0, DENSITY_MAX], written as a plain number. Raises CodecError."""
    density = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not 0.0 < density <= DENSITY_MAX:
        raise CodecError(f"codec {name!r}: the density must be a number above 0 and at most {DENSITY_MAX}")
    return density

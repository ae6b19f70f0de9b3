"""A generic byte stage (zstd) behind codecs whose bodies have a known length and often a skewed histogram.

Frames carry no magic number, checksum or length: the blob's hash guards the bytes, the layout knows the
length.  The stage is taken only where it saves at least one part in `GAIN`; of a large body a sample decides,
and of one over `QUICK_BYTES` it must save one part in `QUICK_GAIN`: packing takes thirty times a copy's time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import zstandard
from numpy.typing import NDArray

from muster.compression.codec import CodecError, raw_bytes

LEVEL = 3
GAIN = 50
QUICK_BYTES = 4_000_000
QUICK_GAIN = 8
LARGE_BYTES = 1 << 18  # a body over it is packed only where a sample says that it pays
SAMPLE_BYTES = 1 << 15  # at its beginning and in its middle: 0.05 ms
WINDOW_BYTES_MAX = 1 << 23
_FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS


def squeeze(body: memoryview) -> tuple[bool, bytes | memoryview]:
    """(whether the stage was taken, the bytes to send)."""
    gain = GAIN if len(body) <= QUICK_BYTES else QUICK_GAIN
    if len(body) > LARGE_BYTES and not sample_pays((body,)):
        return False, body
    packed = _compress(body)
    if _pays(len(packed), len(body), gain):
        return True, packed
    return False, body


def sample_pays(parts: Sequence[memoryview]) -> bool:
    """Whether the stage would save enough of a large body, by its beginning and its middle."""
    size_bytes = sum(map(len, parts))
    sample = b"".join((*_cut(parts, 0, SAMPLE_BYTES), *_cut(parts, size_bytes // 2, SAMPLE_BYTES)))
    return _pays(len(_compress(sample)), len(sample), GAIN if size_bytes <= QUICK_BYTES else QUICK_GAIN)


def _cut(parts: Sequence[memoryview], offset: int, length: int) -> Iterator[memoryview]:
    """Bytes offset .. offset + length of the parts together."""
    for part in parts:
        yield part[max(0, offset) : max(0, offset + length)]
        offset -= len(part)


class Body:
    """A body's bytes, read piece by piece, so that they are never in memory as a whole."""

    def __init__(self, data: memoryview, size_bytes: int, squeezed: bool) -> None:
        """`data` stands for `size_bytes` bytes. Raises CodecError where its length alone shows otherwise."""
        self._data, self._at, self._reader = data, 0, None
        if squeezed:
            _check_frame(data)
            unpacker = zstandard.ZstdDecompressor(format=_FORMAT, max_window_size=WINDOW_BYTES_MAX)
            self._reader = unpacker.stream_reader(data)
        elif len(data) != size_bytes:
            raise CodecError(f"the message's body has {len(data)} bytes where the model needs {size_bytes}")

    def fill(self, array: NDArray[Any]) -> None:
        """The next bytes into a contiguous array. Raises CodecError."""
        target = raw_bytes(array)
        if not target:
            return
        if self._reader is None:
            target[:] = self._data[self._at : self._at + len(target)]
            self._at += len(target)
        elif self._read(target) < len(target):
            raise CodecError("the message's compressed bytes are fewer than the model needs")

    def end(self) -> None:
        """Raises CodecError where more bytes are left."""
        if self._reader is not None and self._read(memoryview(bytearray(1))):
            raise CodecError("the message's compressed bytes are more than the model needs")

    def _read(self, target: memoryview) -> int:
        assert self._reader is not None
        done = 0
        try:
            while done < len(target) and (count := self._reader.readinto(target[done:])):
                done += count
        except (zstandard.ZstdError, MemoryError) as error:
            raise CodecError("the message's compressed bytes are damaged") from error
        return done


def _check_frame(data: memoryview) -> None:
    """Raise CodecError unless `data` is one frame as `_compress` writes it, with nothing behind it.

    A frame is two bytes, then blocks of three bytes and their content (RFC 8878, 3.1.1).  The frame is walked
    by hand because the library cannot say where it ends within this module's bounds.  `stream_reader`, which
    fills our arrays, passes over bytes behind the frame.  `decompress(max_output_size)` names them, but needs
    the whole body in memory.  `decompressobj().unused_data` has them, but the sender decides how much a piece
    of the message yields: 64 bytes may become 2 MB.
    """
    at, last = 2, bool(len(data) and data[0])  # the first byte says what else is in the header: nothing
    while not last and at + 3 <= len(data):
        block = int.from_bytes(data[at : at + 3], "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == 1 else size)  # 1: one byte, repeated
    if not last or at != len(data):
        raise CodecError("the message's compressed bytes are damaged, or more bytes follow them")


def _pays(packed: int, plain: int, gain: int) -> bool:
    return packed + plain // gain < plain


def _compress(body: bytes | memoryview) -> bytes:
    settings = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        format=_FORMAT,
        window_log=min(23, max(10, len(body).bit_length())),
        write_content_size=0,
        write_checksum=0,
        write_dict_id=0,
    )
    return zstandard.ZstdCompressor(compression_params=settings).compress(body)

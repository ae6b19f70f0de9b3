"""A generic byte stage (zstd) behind codecs whose bodies have a known length and often a skewed histogram.

Frames carry no magic number, checksum or length: the blob's hash guards the bytes, the layout knows the
length.  The stage is taken only where it saves at least one part in `GAIN`, by a sample if big.
"""

from __future__ import annotations

import zstandard

from muster.compression.codec import CodecError

LEVEL = 3
GAIN = 50
SAMPLE_BYTES = 1 << 16
WINDOW_BYTES_MAX = 1 << 23
_FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS


def squeeze(body: memoryview) -> tuple[bool, bytes | memoryview]:
    """(whether the stage was taken, the bytes to send)."""
    if len(body) > 4 * SAMPLE_BYTES:
        middle = len(body) // 2
        sample = b"".join((body[:SAMPLE_BYTES], body[middle : middle + SAMPLE_BYTES]))
        if not _pays(len(_compress(sample)), len(sample)):
            return False, body
    packed = _compress(body)
    if _pays(len(packed), len(body)):
        return True, packed
    return False, body


def expand(data: memoryview, size_bytes: int) -> bytes:
    """The `size_bytes` bytes that `data` stands for; never allocates more. Raises CodecError."""
    unpacker = zstandard.ZstdDecompressor(format=_FORMAT, max_window_size=WINDOW_BYTES_MAX)
    try:
        with unpacker.stream_reader(data) as reader:
            body = reader.read(size_bytes)
            rest = reader.read(1)
    except (zstandard.ZstdError, MemoryError) as error:
        raise CodecError("the message's compressed bytes are damaged") from error
    if len(body) != size_bytes or rest:
        raise CodecError("the message's compressed bytes have another length than the model needs")
    return body


def _pays(packed: int, plain: int) -> bool:
    return packed + plain // GAIN < plain


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

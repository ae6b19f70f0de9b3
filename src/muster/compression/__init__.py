"""Update codecs: sparsify, quantise, code; error feedback. numpy only."""

from muster.compression.codec import Codec, CodecError
from muster.compression.families import decode, parse

__all__ = ["Codec", "CodecError", "decode", "parse"]

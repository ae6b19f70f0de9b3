"""Update codecs and error feedback. Knows numpy and nothing else of Muster."""

from muster.compression.codec import Codec, CodecError
from muster.compression.codecs.families import decode, parse

__all__ = ["Codec", "CodecError", "decode", "parse"]

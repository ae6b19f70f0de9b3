"""A model's tensors as bytes, update codecs, error feedback. Knows numpy, errors and varints."""

from muster.compression.codec import Codec, CodecError
from muster.compression.codecs.families import decode, parse

__all__ = ["Codec", "CodecError", "decode", "parse"]

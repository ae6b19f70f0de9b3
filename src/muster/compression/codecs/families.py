"""Which codecs there are: by name, and by the first byte of a message."""

from __future__ import annotations

from muster.compression.codec import Codec, CodecError, Message, Vector, split_family
from muster.compression.codecs.dense import Dense16, Dense32
from muster.compression.codecs.quantise import Quant4, Quant8
from muster.compression.codecs.ternary import Ternary
from muster.compression.codecs.topk import TopK4, TopK16

FAMILIES: tuple[type[Codec], ...] = (Dense32, Dense16, Quant8, Quant4, TopK4, TopK16, Ternary)
NAMES = ", ".join(family.form() for family in FAMILIES)
EXAMPLES = tuple(name for family in FAMILIES for name in family.examples())
_BY_NUMBER = {family.FAMILY: family for family in FAMILIES}


def parse(name: str) -> Codec:
    """The codec called `name`. Raises CodecError with the names there are."""
    for family in FAMILIES:
        codec = family.parse(name)
        if codec is not None:
            return codec
    raise CodecError(f"there is no codec {name!r}; choose one of {NAMES}")


def decode(data: Message, size: int) -> Vector:
    """The vector of `size` elements in the message `data`, of whatever codec. Raises CodecError."""
    number, message = split_family(data)
    family = _BY_NUMBER.get(number)
    if family is None:
        raise CodecError(f"the message is of codec family {number}, which this version does not know")
    return family.decode(message, size)

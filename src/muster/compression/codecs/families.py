"""Which codecs there are: by name, and by the first byte of a message."""

from __future__ import annotations

from muster.compression.codec import Codec, CodecError, Message, Vector
from muster.compression.codecs.dense import Dense16, Dense32
from muster.compression.codecs.quantise import Quant4, Quant8
from muster.compression.codecs.ternary import Ternary
from muster.compression.codecs.topk import TopK4, TopK16

FAMILIES: tuple[type[Codec], ...] = (Dense32, Dense16, Quant8, Quant4, TopK4, TopK16, Ternary)
NAMES = "dense32, dense16, quant8, quant4, topk:DENSITY, topk16:DENSITY, stc:DENSITY"
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
    if not data:
        raise CodecError("the message is empty")
    family = _BY_NUMBER.get(data[0] >> 5)
    if family is None:
        raise CodecError(f"the message is of codec family {data[0] >> 5}, which this version does not know")
    return family.decode(data, size)

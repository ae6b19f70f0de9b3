from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.protocol.varint import VarintError, decode_varint, encode_varint


@given(st.integers(0, 2**70 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_numbers_survive(number: int, before: bytes, behind: bytes) -> None:
    data = encode_varint(number)
    assert decode_varint(before + data + behind, len(before), bytes_max=10) == (number, len(before + data))


def test_small_numbers_are_short() -> None:
    assert encode_varint(0) == b"\0"
    assert encode_varint(127) == b"\x7f"
    assert encode_varint(128) == b"\x80\x01"


@pytest.mark.parametrize(("data", "why"), [(b"\x80", "ends inside"), (b"\x80" * 5 + b"\1", "too long")])
def test_what_is_no_number_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(VarintError, match=why):
        decode_varint(data, 0, bytes_max=5)

"""Bytes and joules, as they are shown and as they are given."""

from __future__ import annotations

import pytest

from muster.protocol.quantities import energy_text, parse_energy, parse_size, size_text


@pytest.mark.parametrize(
    ("joules", "text"),
    [(0, "0 J"), (0.25, "0.25 J"), (6.0, "6 J"), (9.99, "10 J"), (831, "831 J"), (12_340, "12.3 kJ"),
     (4.56e6, "4.56 MJ")],
)  # fmt: skip
def test_joules_for_people(joules: float, text: str) -> None:
    assert energy_text(joules) == text


@pytest.mark.parametrize(
    ("text", "joules"),
    [("500", 500.0), ("500J", 500.0), ("12 kJ", 12e3), ("1.5MJ", 1.5e6), ("20Wh", 72e3), ("2kWh", 7.2e6),
     ("0.5", 0.5), ("J", None), ("5kB", None), ("", None), ("W h", None)],
)  # fmt: skip
def test_joules_as_they_are_given(text: str, joules: float | None) -> None:
    assert parse_energy(text) == joules


@pytest.mark.parametrize(
    ("text", "count"),
    [("300000", 300e3), ("300kB", 300e3), ("20 MB", 20e6), ("1g", 1e9), ("many", None), ("B", None)],
)
def test_bytes_as_they_are_given(text: str, count: float | None) -> None:
    assert parse_size(text) == count


def test_what_is_shown_can_be_given() -> None:
    for amount in (1.0, 42.0, 12_300.0, 4.56e6):
        assert parse_size(size_text(amount)) == pytest.approx(amount)
        assert parse_energy(energy_text(amount)) == pytest.approx(amount)

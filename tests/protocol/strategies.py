"""Hypothesis strategies: a record of any type with its author, about a given history."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from generators import Around, ByHypothesis, Generator


def records(around: Around) -> st.SearchStrategy[Any]:
    """(author, record)"""

    @st.composite
    def make(draw: Any) -> Any:
        return Generator(ByHypothesis(draw), around).record()

    return make()

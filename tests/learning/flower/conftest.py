"""Flower apps for the tests; all of them are skipped where flwr is not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "flower_quickstart"


@pytest.fixture(autouse=True)
def _flwr() -> None:
    pytest.importorskip(
        "flwr", reason="flwr is not installed: make setup, or pip install 'muster-fl[flower]'"
    )


@pytest.fixture
def example() -> Path:
    return EXAMPLE


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes a task of a module's text; the module is forgotten afterwards."""
    before, path = set(sys.modules), list(sys.path)

    def make(text: str, **options: Any) -> Any:
        from muster.learning.flower.task import FlowerTask

        (tmp_path / "an_app.py").write_text(text)
        return FlowerTask(name="an-app", folder=tmp_path, flower="an_app:app", **options)

    yield make
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name == "an_app":
            del sys.modules[name]

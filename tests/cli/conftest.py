from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fakenode import FakeNode


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's real nodes are found by a test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
    monkeypatch.delenv("MUSTER_HOME", raising=False)
    return tmp_path / "d" / "muster"


@pytest.fixture
def alpha(data_home: Path) -> Iterator[FakeNode]:
    """A fake node named alpha, the only one that runs."""
    with FakeNode(data_home / "alpha") as node:
        yield node

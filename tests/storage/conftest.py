from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.storage.disk import DiskStore
from muster.storage.memory import MemoryStore
from muster.storage.store import Store


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """The contract holds for both stores."""
    made: Store = DiskStore(tmp_path / "home") if request.param == "disk" else MemoryStore(random.Random(1))
    yield made
    made.close()

from __future__ import annotations

from pathlib import Path

import pytest
from fake_sys import FakeSys


@pytest.fixture
def sys_tree(tmp_path: Path) -> FakeSys:
    return FakeSys(tmp_path)

"""What a node opens for the name of a task, as `Result.model()` asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from muster.errors import MusterError
from muster.node.catalogue import Catalogue
from muster.node.config import load_config


def test_a_file_with_its_options_and_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MUSTER_HOME", raising=False)
    (tmp_path / "node.toml").write_text(
        f'home = "{tmp_path}/home"\n[tasks.leaves]\nfile = "leaves.py"\n'
        'data = "leaves.npz"\npart = 1\nparts = 2\n'
    )
    nothing: Any = None
    catalogue = Catalogue(load_config(tmp_path / "node.toml"), nothing, tmp_path, nothing)
    source = catalogue.source("leaves")
    assert source.reference == str(tmp_path / "leaves.py")
    assert source.options == {"data": str(tmp_path / "leaves.npz"), "part": 1, "parts": 2}
    assert (catalogue.source("digits").reference, catalogue.source("digits").options) == ("digits", {})
    with pytest.raises(MusterError, match="no task 'x'"):
        catalogue.source("x")

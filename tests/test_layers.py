"""Folders import only downwards (design section 3); `api.py` stands beside the command line."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import muster

ROOT = Path(muster.__file__).parent
LAYERS = (
    "api",
    "cli",
    "dashboard",
    "emulation",
    "simulation",
    "node",
    "job",
    "planning",
    "network",
    "storage",
    "learning",
    "compression",
    "coresets",
    "history",
    "records",
    "errors",
)
FORBIDDEN = {  # what a folder may not know at all
    "job": {"torch", "socket", "zenoh"},
    "planning": {"torch", "socket", "zenoh", "time"},
    "simulation": {"torch", "socket", "zenoh"},
    "storage": {"torch", "zenoh"},
    "network": {"torch"},
    "learning": {"socket", "zenoh", "sqlite3"},
    "compression": {"torch", "socket", "zenoh"},
    "history": {"torch", "socket", "zenoh", "numpy"},
}


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, at its top, inside functions, or for types only."""
    names: set[str] = set()
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = node.module or ""
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def layer(dotted: str) -> str | None:
    words = dotted.split(".")
    return words[1] if words[0] == "muster" and len(words) > 1 and words[1] in LAYERS else None


@pytest.mark.parametrize("name", LAYERS)
def test_imports_go_downwards_only(name: str) -> None:
    files = [ROOT / f"{name}.py"] if (ROOT / f"{name}.py").exists() else sorted((ROOT / name).rglob("*.py"))
    assert files
    for path in files:
        for dotted in imported(path):
            used = layer(dotted)
            if used is not None:
                assert LAYERS.index(used) >= LAYERS.index(name), f"{path} imports {dotted} from above"
            top = dotted.split(".")[0]
            assert top not in FORBIDDEN.get(name, set()), f"{path}: {name}/ may not know {top}"


def test_every_folder_has_its_layer() -> None:
    found = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert found - {"__init__", "__pycache__"} == set(LAYERS)


@pytest.mark.parametrize("module", ["muster.node.daemon", "muster.cli.demo_run", "muster.api"])
def test_neither_the_daemon_nor_the_demo_imports_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["muster.node.daemon", "muster.cli.node", "muster.cli.demo"])
def test_the_pages_server_is_imported_only_when_a_page_is_asked_for(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({{'starlette', 'uvicorn', 'anyio'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

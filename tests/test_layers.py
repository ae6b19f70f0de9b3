"""Rooms import only downwards (docs/architecture.md); `api.py` stands beside the command line."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import muster

ROOT = Path(muster.__file__).parent
LAYERS = (
    "aio",
    "api",
    "cli",
    "dashboard",
    "emulation",
    "simulation",
    "node",
    "serving",
    "job",
    "planning",
    "network",
    "storage",
    "local",
    "learning",
    "algorithms",
    "coresets",
    "adaptation",
    "compression",
    "history",
    "http",
    "control",
    "protocol",
    "errors",
)
ROOMS = {  # inside a folder: rooms, upper ones first; those of one set do not know each other
    "network": ({"sync", "blobs"}, {"transport"}, {"trust"}),
    "job": ({"coordinator"}, {"participant"}, {"models"}),
}
FORBIDDEN = {  # what a folder may not know at all
    "job": {"torch", "socket", "zenoh"},
    "serving": {"torch", "zenoh"},
    "planning": {"torch", "socket", "zenoh", "time"},
    "simulation": {"torch", "socket", "zenoh"},
    "storage": {"torch", "zenoh"},
    "local": {"torch", "zenoh", "asyncio", "socket"},
    "network": {"torch"},
    "learning": {"socket", "zenoh", "sqlite3"},
    "algorithms": {"torch", "socket", "zenoh", "sqlite3", "time"},
    "coresets": {"torch", "socket", "zenoh", "sqlite3", "time"},
    "adaptation": {"torch", "socket", "zenoh", "sqlite3", "time", "asyncio"},
    "compression": {"torch", "socket", "zenoh"},
    "history": {"torch", "socket", "zenoh", "numpy"},
    "http": {"torch", "zenoh", "numpy"},
    "control": {"torch", "zenoh", "numpy"},
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


def room(dotted: str, rooms: tuple[set[str], ...]) -> tuple[int, str] | None:
    """The number of the level, from the top, and the name of the room that a dotted name is in."""
    words = dotted.split(".")
    found = [(i, words[2]) for i, level in enumerate(rooms) if len(words) > 2 and words[2] in level]
    return found[0] if found else None


@pytest.mark.parametrize("name", ROOMS)
def test_rooms_import_downwards_only(name: str) -> None:
    rooms = ROOMS[name]
    for path in sorted((ROOT / name).rglob("*.py")):
        here = room(".".join(("muster", *path.relative_to(ROOT).parts)), rooms)
        for dotted in imported(path):
            there = room(dotted, rooms) if layer(dotted) == name else None
            if here is not None and there is not None and there != here:
                assert there[0] > here[0], f"{path} imports {dotted}: {there[1]}/ is no lower than {here[1]}/"


def circles(files: list[Path]) -> list[list[str]]:
    """Import circles among modules, those for types only included."""
    modules = {_module(path): path for path in files}
    edges: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = {d if d in modules else d.rpartition(".")[0] for d in imported(path)}
        edges[module] = (found & modules.keys()) - {module}
    done: set[str] = set()
    found_circles: list[list[str]] = []

    def visit(module: str, line: list[str]) -> None:
        if module in line:
            found_circles.append([*line[line.index(module) :], module])
        elif module not in done:
            for used in sorted(edges[module]):
                visit(used, [*line, module])
            done.add(module)

    for module in sorted(modules):
        visit(module, [])
    return found_circles


def _module(path: Path) -> str:
    return ".".join(("muster", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def test_no_circle_of_imports() -> None:
    assert circles([p for p in ROOT.rglob("*.py") if "node_modules" not in p.parts]) == []


def test_every_folder_has_its_layer() -> None:
    found = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert found - {"__init__", "__pycache__"} == set(LAYERS)


@pytest.mark.parametrize("module", ["muster.node.daemon", "muster.cli.demo.run", "muster.api"])
def test_neither_the_daemon_nor_the_demo_imports_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "module", ["muster.node.daemon", "muster.cli.commands.node", "muster.cli.demo.command"]
)
def test_the_pages_server_is_imported_only_when_a_page_is_asked_for(module: str) -> None:
    code = f"import sys, {module}; sys.exit(bool({{'starlette', 'uvicorn', 'anyio'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

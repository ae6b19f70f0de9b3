"""Pages: links lead somewhere, all are in the index, none is too long, generated parts are up to date."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from muster.emulation.scenario_file import parse
from test_layers import FORBIDDEN, LAYERS, imported, layer

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ROOT_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAGES = [*ROOT_PAGES, *sorted(DOCS.rglob("*.md"))]
LINES_MAX = 250
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text("utf-8")))


def anchors(page: Path) -> set[str]:
    """What a heading of the page is reached by, as GitHub makes it."""
    text = FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return {
        f"{name}-{plain[:at].count(name)}" if name in plain[:at] else name for at, name in enumerate(plain)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name} links to {target}"
        assert there.is_relative_to(ROOT), f"{page.name} links out of the repository: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}: no such heading"


def test_every_page_is_in_the_index() -> None:
    def linked(index: Path) -> set[Path]:
        return {(index.parent / t.partition("#")[0]).resolve() for t in LINK.findall(prose(index))}

    found = linked(DOCS / "README.md") | linked(DOCS / "notes" / "README.md")
    assert not [
        page for page in DOCS.rglob("*.md") if page.resolve() not in found and page.name != "README.md"
    ]
    assert (DOCS / "notes" / "README.md").resolve() in found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_is_too_long(page: Path) -> None:
    assert len(page.read_text("utf-8").splitlines()) <= LINES_MAX


def test_pages_name_no_machine_of_their_writers() -> None:
    for page in PAGES:
        assert not re.search(r"/work/|/home/\w|\bpython3? /", page.read_text("utf-8")), page


def test_notes_are_dated() -> None:
    for page in (DOCS / "notes").glob("*.md"):
        assert page.name == "README.md" or re.match(r"\d{4}-\d{2}-\d{2}-[a-z0-9-]+\.md", page.name), page.name


def test_the_architecture_names_every_room_from_top_to_bottom() -> None:
    found = re.findall(r"^\| `(\w+)/`", (DOCS / "architecture.md").read_text("utf-8"), re.MULTILINE)
    folders = {p.name for p in (ROOT / "src" / "muster").iterdir() if (p / "__init__.py").exists()}
    assert set(found) == folders
    assert found == sorted(found, key=LAYERS.index)


def test_the_architecture_says_what_each_folder_imports() -> None:
    page = (DOCS / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)`.*\| ([\w, -]+) \| ([\w, -]+) \|$", page, re.MULTILINE)
    assert len(rows) == len(LAYERS) - 1  # errors.py has no row
    for name, imports, never in rows:
        here = ROOT / "src" / "muster" / name
        files = here.rglob("*.py") if here.is_dir() else [here.with_suffix(".py")]
        used = {layer(dotted) for file in files for dotted in imported(file)} - {name, None}
        assert set(imports.split(", ")) == (used or {"-"}), name
        assert set(never.split(", ")) == FORBIDDEN.get(name, {"-"}), name


def test_files_that_pages_name_exist() -> None:
    """`job/view.py`, `tests/test_layers.py`: as paths in the package or the repository."""
    missing = []
    for page in [*ROOT_PAGES, *DOCS.glob("*.md")]:
        for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|ts|toml))`", page.read_text("utf-8")):
            if (
                not any((place / name).exists() for place in (ROOT, ROOT / "src", ROOT / "src" / "muster"))
                and "NEW" not in name
            ):
                missing.append(f"{page.name}: {name}")
    assert not missing


def sources_of_commands() -> dict[str, str]:
    """Pages, and the results of benchmarks, which name the commands that they came from."""
    files = [*ROOT_PAGES, *DOCS.glob("*.md"), *(ROOT / "bench" / "results").glob("*.json")]
    return {str(file.relative_to(ROOT)): file.read_text("utf-8") for file in files}


def test_files_inside_commands_exist() -> None:
    """`python -m pytest tests/test_layers.py -k downwards`: the file, and a test of that name."""
    path = re.compile(r"(?<![\w./-])(?:tests|bench|scripts|examples)/[\w./-]*\w")
    missing = []
    for name, text in sources_of_commands().items():
        for found in path.findall(text):
            if "NEW" not in found and not (ROOT / found).exists():
                missing.append(f"{name}: {found}")
    assert not missing


def test_tests_that_commands_choose_exist() -> None:
    chosen = re.compile(r"pytest[^`\n]* (tests/[\w/]+\.py) -k (\w+)")
    found = [(name, *hit) for name, text in sources_of_commands().items() for hit in chosen.findall(text)]
    assert found
    for name, file, word in found:
        tests = re.findall(r"def (test_\w+)", (ROOT / file).read_text("utf-8"))
        assert any(word in test for test in tests), f"{name}: no test of {file} has {word!r} in its name"


def test_pages_that_code_names_exist() -> None:
    folders = ("src", "tests", "bench", "scripts")
    files = [f for name in folders for f in (ROOT / name).rglob("*.py") if "node_modules" not in f.parts]
    assert len(files) > 300
    for file in files:
        for name in re.findall(r"\bdocs/[\w./-]+\.(?:md|svg|png)\b", file.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{file.relative_to(ROOT)} names {name}"


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scenario_of_the_page_loads() -> None:
    page = (DOCS / "configuration.md").read_text("utf-8")
    block = next(
        b for b in re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) if "links" in b
    )
    scenario = parse(block, "page", "docs/configuration.md")
    assert {frozenset((link.a, link.b)) for link in scenario.links} == {
        frozenset(("alpha", "bravo")), frozenset(("alpha", "gate")), frozenset(("bravo", "gate")),
    }  # fmt: skip
    assert tomllib.loads(block)["events"][0]["fault"] == "cut"


@pytest.mark.parametrize("script", ["check", "flake", "docs.py", "bench.py"])
def test_scripts_say_what_they_do(script: str) -> None:
    path = ROOT / "scripts" / script
    command = [sys.executable, str(path)] if script.endswith(".py") else [str(path)]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "usage" in done.stdout

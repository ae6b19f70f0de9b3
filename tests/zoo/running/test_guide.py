"""The guide's examples of tasks (docs/tasks/) are good ones, and figures come of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_zoo_check import checked

GUIDE = Path(__file__).parents[3] / "docs" / "tasks"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = {
    f"{page.stem}-{number}": block
    for page in sorted(GUIDE.glob("*.md"))
    for number, block in enumerate(BLOCK.findall(page.read_text("utf-8")))
}


def test_each_page_has_examples() -> None:
    assert {name.rpartition("-")[0] for name in EXAMPLES} == {page.stem for page in GUIDE.glob("*.md")}
    assert len(EXAMPLES) >= 20


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_good_task(name: str, tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(EXAMPLES[name])
    report = checked(path, tmp_path)
    assert report.good, report.faults
    assert report.figures
    told = [w for w in report.warnings if "skip_bad_rows" not in w]  # what that example is about
    assert told == []

"""One schema of rows: what is sent, the page's types and the documents all agree with the structs."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pages import make

from muster.dashboard import page_messages
from muster.dashboard.emulated_links import LinkSettings
from muster.dashboard.feed import TABLES
from muster.dashboard.http.requests import Drop
from muster.dashboard.state_merger import StateMerger
from muster.node.api.rows import schema
from muster.node.api.rows.commit_rows import CHANGING

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("row_types", ROOT / "scripts/row_types.py")
assert spec is not None
assert spec.loader is not None
row_types = importlib.util.module_from_spec(spec)
spec.loader.exec_module(row_types)


@pytest.mark.parametrize("path", row_types.made(), ids=lambda path: path.name)
def test_what_is_made_from_the_structs_is_committed(path: Path) -> None:
    assert path.read_text("utf-8") == row_types.made()[path], "run: python scripts/row_types.py"


def test_the_interfaces_have_the_fields_of_the_structs() -> None:
    """Read off the TypeScript itself, not made once more."""
    text = "".join(path.read_text() for path in (row_types.TYPES).glob("*.ts"))
    found = dict(re.findall(r"export interface (\w+) \{\n(.*?)\n\}", text, re.S))
    for struct in row_types.structs():
        names = re.findall(r"^  (\w+)\??:", found.pop(struct.__name__), re.M)
        assert tuple(names) == struct.__struct_encode_fields__
    assert not found


def test_the_tables_of_the_feed_are_those_of_the_state() -> None:
    assert set(page_messages.State.__struct_fields__) == {"t", "id", "header", "log", *TABLES}
    assert set(page_messages.Patch.__struct_fields__) == {"t", "fresh_t", "header", "log", *TABLES}
    assert set(CHANGING) <= set(schema.CommitRow.__struct_fields__)
    assert schema.DropRow.__struct_fields__ == Drop.__struct_fields__


def test_the_state_of_a_fresh_page_is_of_the_schema() -> None:
    async def run() -> tuple[Any, Any]:
        made = make()
        merger = StateMerger(made.feed, emulated=True)
        plain = {"address": "10.77.0.1", "away": False, "running": True, "paused": False, "slowdown": 1.0}
        merger.conditions([{"name": "alpha", **plain}, {"name": "bravo", **plain}])
        params = {"up": True, "rate_kbit_s": 64.0, "delay_ms": 5.0, "jitter_ms": 0.0, "loss": 0.0}
        counts = {"bytes": 0, "dropped_loss": 0, "dropped_queue": 0, "dropped_down": 0}
        pairs = [("alpha", "bravo"), ("bravo", "alpha")]
        found = [{"a": a, "b": b, "params": params, "count": counts} for a, b in pairs]
        merger.links(found, lambda pair: LinkSettings(None, None))
        merger.marks.add("cut", "a cut", ["alpha"])
        made.feed.add_line("fault", "a cut", node="alpha")
        made.feed.flush()
        patch = made.feed._ring[-1][1].split(b"data: ")[1]
        return json.loads(made.feed.state("operator")), json.loads(patch)

    state, patch = asyncio.run(run())
    assert exact(state, page_messages.State)
    assert msgspec.convert(patch, page_messages.Patch).nodes


def exact(sent: Any, kind: Any) -> bool:
    """Whether `sent` is a value of `kind` with all of its fields and no other."""
    assert msgspec.to_builtins(msgspec.convert(sent, kind)) == sent
    return True

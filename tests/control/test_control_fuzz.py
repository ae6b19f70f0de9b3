"""Whatever comes over a control socket, an answer goes back and the server goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.control.lines import opened
from muster.control.server import ControlServer
from muster.errors import MusterError

DEEP = b"[" * 100_000, b'{"op":' * 50_000, b'{"ok":' * 50_000
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
requests = st.one_of(
    st.binary(max_size=200).map(lambda data: data.replace(b"\n", b" ")),
    st.sampled_from([b'{"op": "echo", "n": 1e999}', b"\xff\xfe{}", b"[[[[", b"{}"]),
    st.builds(
        lambda op, more: json.dumps({**more, "op": op}).encode(),
        st.one_of(st.sampled_from(["echo", "number", "nothing"]), values),
        st.dictionaries(st.text(max_size=8), values, max_size=4),
    ),
)


async def echo(arguments: dict[str, Any]) -> Any:
    return arguments


async def number(arguments: dict[str, Any]) -> Any:
    return int(arguments.get("n", 0))  # a fault for most arguments


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(st.lists(requests, min_size=1, max_size=5))
def test_every_line_is_answered(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    answer_all(tmp_path_factory.getbasetemp() / "s", lines)


def test_lists_in_lists_without_end_are_answered(tmp_path: Path) -> None:
    answer_all(tmp_path / "s", DEEP)
    for line in DEEP:
        with pytest.raises(MusterError):
            opened(line)


def answer_all(path: Path, lines: Sequence[bytes]) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        server = ControlServer(path, {"echo": echo, "number": number})
        await server.start()
        try:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=4_000_000)
            for line in lines:
                writer.write(line + b"\n")
                answer = json.loads(await asyncio.wait_for(reader.readline(), 10.0))
                assert set(answer) <= {"ok", "error"}
            writer.close()
        finally:
            await server.close()

    asyncio.run(main())


@given(st.one_of(requests, values.map(lambda value: json.dumps(value).encode())))
def test_every_answer_is_read_or_named(line: bytes) -> None:
    with contextlib.suppress(MusterError):
        opened(line)

"""The client of a running emulation's control socket (`requests` says what can be asked)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Self

from muster.control.client import Connection, connected
from muster.emulation.requests import LINE_BYTES_MAX
from muster.errors import MusterError


class EmulationClient:
    """An open connection to the emulation whose control socket is at `path`.

    async with EmulationClient(rundir / "control.sock") as control:
        links = (await control.ask("links"))["links"]
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = contextlib.AsyncExitStack()
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        try:
            self._connection = await self._open.enter_async_context(connected(self._path, LINE_BYTES_MAX))
        except OSError as error:
            raise MusterError("no_node", f"no emulation answers at {self._path}; is it running?") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """One request. Raises MusterError with the emulation's sentence."""
        assert self._connection is not None, "used outside of its `async with`"
        try:
            answer: dict[str, Any] = await self._connection.ask(op, **arguments)
        except (OSError, EOFError) as error:
            raise MusterError("no_node", "the emulation has ended") from error
        return answer

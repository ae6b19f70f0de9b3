"""Talking to a daemon on this machine: JSON lines over the Unix socket in its home, and finding that home.

One connection a request; the answer is `{"ok": ...}` or `{"error": {"code", "sentence"}}`, which becomes
the same MusterError here that it was there.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from muster.errors import EXIT_CODES, MusterError
from muster.node.api.commit_detail import CommitDetail, DiffView, WhyView
from muster.node.api.snapshot import CommitView, JobSnapshot, NeighbourView, NodeEvent, Snapshot, TaskView
from muster.node.config import data_root
from muster.protocol.envelope import UNREADABLE

SOCKET = "control.sock"
T = TypeVar("T")
ANSWER_BYTES_MAX = 64 * 1024 * 1024
TIMEOUT_S = 30.0
TRAIN_TIMEOUT_S = 600.0  # a trainer starts slowly on a small board, and a start from a commit may be fetched
PROBE_TIMEOUT_S = 1.0
HOMES_MAX = 256


class LogView(msgspec.Struct, frozen=True):
    """The answer to `log`."""

    job: JobSnapshot
    commits: list[CommitView]
    why: list[WhyView] = []  # when it was asked for
    links: list[NeighbourView] = []  # when they were asked for


class Exported(msgspec.Struct, frozen=True):
    """The answer to `export`."""

    paths: list[str]
    accuracy: float | None
    commit: str


class Client:
    """The daemon whose home is `home`. Every call raises MusterError: no_node, timeout, or what it says."""

    def __init__(self, home: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self.home = home
        self.timeout_s = timeout_s

    def snapshot(self, *, timeout_s: float | None = None) -> Snapshot:
        return _typed(self.ask("snapshot", timeout_s=timeout_s), Snapshot)

    def train(self, task: str, **options: Any) -> str:
        """The id (hex) of the new job; options as in the command `muster train`, None is not given."""
        given = {key: value for key, value in options.items() if value is not None}
        return str(self.ask("train", task=task, timeout_s=TRAIN_TIMEOUT_S, **given)["job"])

    def stop(self, job: str, reason: str) -> Any:
        return self.ask("stop", job=job, reason=reason)

    def export(self, job: str, to: Path) -> Exported:
        return _typed(self.ask("export", job=job, to=str(to), timeout_s=300.0), Exported)

    def tasks(self) -> list[TaskView]:
        return _typed(self.ask("tasks", timeout_s=120.0), list[TaskView])

    def log(self, job: str, *, why: bool = False, links: bool = False) -> LogView:
        wanted = {name: True for name, given in (("why", why), ("links", links)) if given}
        return _typed(self.ask("log", job=job, **wanted), LogView)

    def show(self, commit: str) -> CommitDetail:
        return _typed(self.ask("show", commit=commit), CommitDetail)

    def diff(self, a: str, b: str) -> DiffView:
        return _typed(self.ask("diff", a=a, b=b), DiffView)

    def shutdown(self) -> None:
        self.ask("shutdown")

    def ask(self, op: str, *, timeout_s: float | None = None, **args: Any) -> Any:
        """One request, one answer: the value of "ok"."""
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        with self._connect(limit_s) as connection, connection.makefile("rb") as lines:
            try:
                connection.sendall(json.dumps({"op": op, **args}).encode() + b"\n")
                line = lines.readline(ANSWER_BYTES_MAX)
            except TimeoutError as error:
                raise MusterError(
                    "timeout",
                    f"the node in {self.home} did not answer {op!r} within {limit_s:g} s: is it stopped?",
                ) from error
            except OSError as error:
                raise self._gone() from error
        if not line.endswith(b"\n"):
            raise self._gone()
        return _opened(line)

    def events(self, since: int, *, pause_s: float) -> Iterator[NodeEvent | None]:
        """Events after number `since` as they come; None whenever `pause_s` passed without one."""
        with self._connect(self.timeout_s) as connection:
            connection.sendall(json.dumps({"op": "events", "since": since}).encode() + b"\n")
            connection.settimeout(pause_s)
            rest = b""
            while True:
                try:
                    data = connection.recv(65536)
                except TimeoutError:
                    yield None
                    continue
                except OSError as error:
                    raise self._gone() from error
                if not data or len(rest) > ANSWER_BYTES_MAX:
                    raise self._gone()
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    yield _typed(_opened(line, "event"), NodeEvent)

    def _connect(self, timeout_s: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(self.home / SOCKET))
        except PermissionError as error:
            connection.close()
            raise MusterError(
                "no_node", f"the node in {self.home} belongs to another user: run this as that user"
            ) from error
        except OSError as error:
            connection.close()
            raise MusterError(
                "no_node", f"no node runs in {self.home}: start it with 'muster node --home {self.home}'"
            ) from error
        return connection

    def _gone(self) -> MusterError:
        return MusterError(
            "no_node", f"the node in {self.home} ended while it was asked: see {self.home}/node.log"
        )


def _opened(line: bytes, key: str = "ok") -> Any:
    try:
        answer = json.loads(line)
        if "error" in answer:
            code, sentence = str(answer["error"]["code"]), str(answer["error"]["sentence"])
            raise MusterError(code if code in EXIT_CODES else "internal", sentence)
        return answer[key]
    except (ValueError, KeyError, TypeError) as error:
        raise MusterError(
            "internal", f"the node's answer cannot be read ({error}): update both sides"
        ) from error


def _typed(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise MusterError(
            "internal", f"the node's answer cannot be read ({error}): node and command differ in version"
        ) from error


def answers(home: Path) -> bool:
    """Whether a daemon listens in `home`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PROBE_TIMEOUT_S)
    try:
        connection.connect(str(home / SOCKET))
    except OSError:
        return False
    finally:
        connection.close()
    return True


def running() -> list[Path]:
    """Homes below data_root() in which a daemon answers, by name; at most 256 are looked at."""
    try:
        homes = sorted(path.parent for path in data_root().glob(f"*/{SOCKET}"))[:HOMES_MAX]
    except OSError:
        return []
    return [home for home in homes if answers(home)]


def choose(node: str | None = None) -> Client:
    """The daemon that the user means: `node` (a home or a name), $MUSTER_HOME, else the only one that runs.

    Raises MusterError("no_node") that says what to do.
    """
    if node is not None:
        direct = Path(node).expanduser()
        home = direct.absolute() if os.sep in node or (direct / SOCKET).exists() else data_root() / node
        if not answers(home):
            known = ", ".join(path.name for path in running())
            hint = f"; running here: {known}" if known else f": start it with 'muster node --home {home}'"
            raise MusterError("no_node", f"no node runs in {home}{hint}")
        return Client(home)
    if from_environment := os.environ.get("MUSTER_HOME"):
        return Client(Path(from_environment).expanduser().absolute())
    homes = running()
    if not homes:
        raise MusterError("no_node", "no node runs on this machine: start one with 'muster node'")
    if len(homes) > 1:
        names = ", ".join(home.name for home in homes)
        raise MusterError("no_node", f"several nodes run on this machine ({names}): choose with --node NAME")
    return Client(homes[0])


async def look(home: Path, timeout_s: float) -> Snapshot | None:
    """A snapshot without blocking the loop; None when nobody answers in time (a paused or ended node)."""
    import asyncio

    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(home / SOCKET), limit=ANSWER_BYTES_MAX)
            try:
                writer.write(b'{"op": "snapshot"}\n')
                line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
    if not line.endswith(b"\n"):
        return None
    try:
        return _looked.decode(line).ok
    except UNREADABLE:
        return _typed(_opened(line), Snapshot)  # an error, in its own words


class _Looked(msgspec.Struct):
    ok: Snapshot


_looked = msgspec.json.Decoder(_Looked)


async def follow_events(home: Path, since: int) -> AsyncIterator[NodeEvent]:
    """Events after number `since` without blocking the loop, until the node ends."""
    import asyncio

    reader, writer = await asyncio.open_unix_connection(str(home / SOCKET), limit=ANSWER_BYTES_MAX)
    try:
        writer.write(json.dumps({"op": "events", "since": since}).encode() + b"\n")
        while (line := await reader.readline()).endswith(b"\n"):
            yield _typed(_opened(line, "event"), NodeEvent)
    finally:
        writer.close()


async def ask(home: Path, op: str, timeout_s: float, **arguments: Any) -> Any:
    """One request without blocking the loop. Raises MusterError: no_node, timeout, or what the node says."""
    import asyncio

    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(home / SOCKET), limit=ANSWER_BYTES_MAX)
            try:
                writer.write(json.dumps({**arguments, "op": op}).encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
    except TimeoutError as error:
        raise MusterError(
            "timeout", f"the node in {home} has not answered within {timeout_s:g} s: try again"
        ) from error
    except (OSError, ValueError) as error:
        raise MusterError("no_node", f"no node answers in {home}") from error
    if not line.endswith(b"\n"):
        raise MusterError("no_node", f"the node in {home} ended while it was asked: see {home}/node.log")
    return _opened(line)


async def watch(home: Path) -> AsyncIterator[dict[str, Any]]:
    """The node's view in pieces, as they change (node/watching.py), until the node ends."""
    import asyncio

    reader, writer = await asyncio.open_unix_connection(str(home / SOCKET), limit=ANSWER_BYTES_MAX)
    try:
        writer.write(b'{"op": "watch"}\n')
        while (line := await reader.readline()).endswith(b"\n"):
            yield _opened(line, "event")
    finally:
        writer.close()

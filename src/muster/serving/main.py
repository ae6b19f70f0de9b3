"""The serving process: `python -m muster.serving.main HOME TASK SETTINGS`, started by the node.

It ends with a signal only, and so not with the node that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from muster.errors import MusterError
from muster.http.access import OPERATOR, Access
from muster.http.address import Address, listen, url
from muster.serving.models import need_onnxruntime
from muster.serving.paths import WHILE, folder_of
from muster.serving.report import alive, read_report, start_of
from muster.serving.settings import PORT, ServeConfig, decode_settings, wants_token

CONNECTIONS_MAX = 512
KEEP_ALIVE_S = 300  # a client that asks now and then must not meet a connection that is being closed
LOOK_S = 2.0
LOCK = ".serving"
TOKEN = "token"


async def serve(
    home: Path, task: str, config: ServeConfig, say: Callable[[str], None], by_hand: bool = False
) -> None:
    """Serve a task until SIGTERM or SIGINT. Raises MusterError."""
    need_onnxruntime()
    from muster.http.server import serving
    from muster.serving.http.app import build
    from muster.serving.server import Server

    folder = folder_of(home, task)
    with only_one(folder):
        sock = listen(_address(config, folder), usual=PORT, what=f"the model of {task}")
        place = url(sock, config.listen)
        access = Access({token(folder): OPERATOR} if wants_token(config) else {})
        server = Server(home, task, config, say, place, by_hand)
        over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
        await server.start()
        try:
            async with serving(
                build(server, access), sock, connections_max=CONNECTIONS_MAX, keep_alive_s=KEEP_ALIVE_S
            ):
                say(f"{task} is served at {place}v2/models/{task}")
                if wants_token(config):
                    say(f"clients need the token in {folder / TOKEN}")
                if server.in_use.loaded is None and not server.in_use.fault:
                    say(f"no model is in use for {task}: `muster use COMMIT`")
                await _until(over, folder)
        finally:
            await server.close()


async def _until(over: asyncio.Event, folder: Path) -> None:
    """A signal came, or the folder was deleted, or the process that `WHILE` names is gone."""
    named = os.environ.get(WHILE, "")
    pid = int(named) if named.isdigit() else 0
    began = start_of(pid) if pid else None
    while not over.is_set() and folder.exists() and (not pid or start_of(pid) == began is not None):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await over.wait()


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """One server a folder, as long as the process runs. Raises MusterError home."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise MusterError("home", f"{folder} cannot be used: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            report = read_report(folder)
            where = f" at {report.url} (process {report.pid})" if report is not None and alive(report) else ""
            raise MusterError("home", f"{folder.name} is served already{where}") from error
        yield


def _address(config: ServeConfig, folder: Path) -> Address:
    """The port that was asked for, else that of the last time if it is free: clients know it."""
    report = read_report(folder)
    if config.port is None and report is not None and report.port:
        with contextlib.suppress(MusterError):
            listen(Address(config.listen, report.port)).close()
            return Address(config.listen, report.port)
    return Address(config.listen, config.port)


def token(folder: Path) -> str:
    """The token that clients elsewhere need: made once, for whoever may read this user's files."""
    path = folder / TOKEN
    with contextlib.suppress(OSError):
        if len(known := path.read_text("ascii", "replace").strip()) >= 16:
            return known
    made = secrets.token_urlsafe(18)
    part = path.with_name(".token.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{made}\n")
    os.replace(part, path)
    return made


def say(sentence: str) -> None:
    """For the log, or the terminal."""
    with contextlib.suppress(OSError):  # its disk may be full; requests go on
        print(f"{time.strftime('%H:%M:%S')} {sentence}", flush=True)


def main(arguments: list[str]) -> int:
    home, task, settings = arguments
    try:
        asyncio.run(serve(Path(home), task, decode_settings(settings), say))
    except MusterError as error:
        print(f"muster: {error.sentence}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

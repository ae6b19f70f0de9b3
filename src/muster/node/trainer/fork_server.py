"""One process that has imported torch, and forks a trainer for each daemon of this machine that asks for one.

    MUSTER_TRAINER_FORKS=/run/muster-forks  python -m muster.node.trainer.fork_server [MODULE ...]

For many daemons on one machine, as in an emulation: what is imported is in memory once, and a trainer is
there in milliseconds.  Daemons with the same variable in their environment ask here (`forks`); only this user
can.  Modules that the task needs may be named, so that they are imported once, too.  When this process ends,
so do its trainers.  It has no threads of its own, so that a fork is whole.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from muster.node.trainer import child
from muster.node.trainer.forks import FORKS, PATH_BYTES_MAX, REQUEST_BYTES_MAX, Request

USUAL = ("muster.node.trainer.task_session", "numpy", "torch")


def main() -> None:
    for name in (*USUAL, *sys.argv[1:]):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a child touches, and so copies, no page of what is shared
    path = Path(os.environ[FORKS])
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise SystemExit(f"{path} is too long for a socket: name one of at most {PATH_BYTES_MAX} bytes")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    before = os.umask(0o177)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(os.fsencode(path))
    os.umask(before)
    listening.listen(64)
    print("ready", flush=True)
    serve(listening)


def serve(listening: socket.socket) -> None:
    """For ever: fork for whoever connects, and tell him when his trainer ended."""
    looking = selectors.DefaultSelector()
    looking.register(listening, selectors.EVENT_READ)
    trainers: dict[int, tuple[int, socket.socket]] = {}  # by pidfd
    while True:
        for key, _ in looking.select():
            if key.fd == listening.fileno():
                connection, _ = listening.accept()
                pid = fork(connection, [listening.fileno(), looking.fileno(), *trainers])
                if pid:
                    over = os.pidfd_open(pid)
                    trainers[over] = pid, connection
                    looking.register(over, selectors.EVENT_READ)
                continue
            pid, connection = trainers.pop(key.fd)
            looking.unregister(key.fd)
            os.close(key.fd)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with contextlib.suppress(OSError):  # nobody waits any more
                connection.send(msgspec.msgpack.encode(code))
            connection.close()


def fork(connection: socket.socket, close: list[int]) -> int:
    """A trainer for whoever connected; its process id, 0 if he said nothing of use or is gone."""
    connection.settimeout(5.0)
    pid = 0
    pipes: list[int] = []
    try:
        data, pipes, _, _ = socket.recv_fds(connection, REQUEST_BYTES_MAX, 3)
        request = _request(connection, data)
        if request is not None and len(pipes) == 3:
            pid = os.fork()
            if pid == 0:
                be_trainer(request, pipes, [*close, connection.fileno()])
            connection.send(msgspec.msgpack.encode(pid))
    except OSError:
        pass  # a trainer of whom nobody takes note ends with its stdin
    finally:
        for pipe in pipes:
            os.close(pipe)
    if not pid:
        connection.close()
    return pid


def _request(connection: socket.socket, data: bytes) -> Request | None:
    """What somebody asks, of which `data` came; None: nothing of use. Raises OSError."""
    while len(data) <= REQUEST_BYTES_MAX:
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.msgpack.decode(data, type=Request)
        more = connection.recv(REQUEST_BYTES_MAX)
        if not more:
            break
        data += more
    return None


def be_trainer(request: Request, pipes: list[int], close: list[int]) -> NoReturn:
    """In the forked process: what a started one has, and then the same."""
    try:
        for fd in close:
            os.close(fd)
        for number, pipe in enumerate(pipes):
            os.dup2(pipe, number)
            os.close(pipe)
        os.setsid()
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        os.environ["MUSTER_TRAINER_PARENT"] = str(os.getppid())
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        child.main()
    except BaseException as error:
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()

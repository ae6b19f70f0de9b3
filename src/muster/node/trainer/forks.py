"""Asks the fork server of this machine for a trainer, instead of starting one that imports torch itself."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import threading
from collections.abc import Mapping

import msgspec

FORKS = "MUSTER_TRAINER_FORKS"  # the environment's variable that names its socket
PATH_BYTES_MAX = 100
REQUEST_BYTES_MAX = 256 * 1024  # an environment
ANSWER_S = 30.0


class Request(msgspec.Struct):
    """Beside it go three pipes: for the trainer's stdin, stdout and stderr."""

    folder: str
    environment: dict[str, str]


class ForkedProcess:
    """What of `subprocess.Popen` a `StartedProcess` needs. Raises OSError where there is no such server."""

    def __init__(self, path: str, env: Mapping[str, str]) -> None:
        self.returncode: int | None = None
        self._waiting = threading.Lock()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        theirs: list[int] = []
        ours: list[int] = []
        try:
            self._server.settimeout(ANSWER_S)
            self._server.connect(path)
            for reads in (True, False, False):
                ends = os.pipe2(os.O_CLOEXEC)
                theirs.append(ends[0] if reads else ends[1])
                ours.append(ends[1] if reads else ends[0])
            request = msgspec.msgpack.encode(Request(os.getcwd(), dict(env)))
            sent = socket.send_fds(self._server, [request], theirs)
            self._server.sendall(request[sent:])
            answer = self._server.recv(64)
            if not answer:
                raise OSError(f"the fork server at {path} gave no trainer: start it again")
            self.pid = msgspec.msgpack.decode(answer, type=int)
            self._server.settimeout(None)
        except BaseException:
            self._server.close()
            for end in ours:
                os.close(end)
            raise
        finally:
            for end in theirs:
                os.close(end)
        self.stdin = io.FileIO(ours[0], "w")
        self.stdout, self.stderr = io.FileIO(ours[1], "r"), io.FileIO(ours[2], "r")

    def wait(self) -> int:
        """Wait for its end; -9 if the server ended, and the trainer with it."""
        with self._waiting:
            if self.returncode is None:
                try:
                    answer = self._server.recv(64)
                except OSError:
                    answer = b""
                self.returncode = msgspec.msgpack.decode(answer, type=int) if answer else -signal.SIGKILL
                self._server.close()
        return self.returncode

    def kill(self) -> None:
        """Does nothing to a process that has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

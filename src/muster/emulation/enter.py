"""Starts a program inside a node's namespaces; run as a plain file, so that it costs one bare interpreter.

    python -I -S enter.py PARENT_PID HOLDER_PID NAMESPACE_FD USER_NAMESPACE FILE_BYTES PROGRAM [ARGUMENT ...]

HOLDER_PID is the process that holds the namespaces, 0 means no namespace at all; FILE_BYTES -1 means that
files may grow (see `node_faults`).  It becomes the program (same process id), which dies with its parent.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Enter the namespaces, arm the death signal, become the program."""
    parent, holder, descriptor, user_namespace, file_bytes = (int(number) for number in argv[1:6])
    program = argv[6:]
    libc = ctypes.CDLL(None, use_errno=True)
    paths = [f"/proc/{holder}/ns/user"] if user_namespace else []
    if holder:
        paths.append(f"/proc/{holder}/fd/{descriptor}")
    for path in paths:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if libc.setns(opened, 0):
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
        os.close(opened)
    # After setns: a change of rights clears the signal.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    if file_bytes >= 0:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv)

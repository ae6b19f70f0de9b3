"""Asks Linux to give a thread the processor in short slices: it then gets it soon after it wakes.

The event loop sleeps most of the time and works in short turns.  Linux's scheduler (EEVDF, 6.12 and later)
prefers, among threads of equal weight, the one whose slice ends first.  The share of the processor and the
priority stay as they are, and no right is needed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

SLICE_NS = 100_000  # the shortest that there is; usual are 3 ms
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "armv7l": 380}
_NOT_INHERITED = 1  # SCHED_FLAG_RESET_ON_FORK: threads and children that this one starts have the usual ones
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, priority, runtime, deadline, period


def ask_for_short_slices() -> bool:
    """For the calling thread; whether the kernel took it (before 6.12 it does, and nothing changes)."""
    number = _SCHED_SETATTR.get(platform.machine())
    if sys.platform != "linux" or number is None or ctypes.sizeof(ctypes.c_void_p) * 8 != _bits():
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, _NOT_INHERITED, nice, 0, SLICE_NS, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), 0, ctypes.create_string_buffer(attributes), 0)
    return result == 0


def _bits() -> int:
    """Of a pointer, by the machine's name: a 32-bit Python on a 64-bit kernel has other numbers."""
    return 32 if platform.machine() == "armv7l" else 64

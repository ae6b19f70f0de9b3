from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from muster.node.short_slices import SLICE_NS, ask_for_short_slices


def test_a_thread_has_short_slices_and_what_it_starts_has_not() -> None:
    before, found, inherited = os.getpriority(os.PRIO_PROCESS, 0), [], []

    def slice_ns() -> str:
        lines = Path(f"/proc/self/task/{threading.get_native_id()}/sched").read_text().splitlines()
        found = [line.split(":")[1].strip() for line in lines if line.startswith("se.slice")]
        return found[0] if found else ""

    def start() -> None:
        assert ask_for_short_slices()
        found.append(slice_ns())
        child = threading.Thread(target=lambda: inherited.append(slice_ns()))
        child.start()
        child.join()

    try:
        usual = slice_ns()
    except OSError:
        pytest.skip("this kernel says nothing of its scheduler")
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    if found == [""]:
        pytest.skip("this kernel has no slices of a thread's own")
    assert found == [str(SLICE_NS)]
    assert inherited == [usual]

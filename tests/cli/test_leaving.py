"""How the process ends."""

from __future__ import annotations

import subprocess
import sys

from patience import patient_s

WITH_A_THREAD = """
import sys, threading
from muster.cli.main import leave

class Late:
    def __del__(self, say=print):
        say("the interpreter was taken down")

late = Late()
if sys.argv[1] == "alive":
    threading.Thread(target=threading.Event().wait, name="muster-call", daemon=True).start()
print("the last line")
leave(7)
"""


def end(threads: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITH_A_THREAD, threads]
    return subprocess.run(command, capture_output=True, text=True, timeout=patient_s(30.0))


def test_a_thread_that_lives_on_does_not_see_the_interpreter_go() -> None:
    done = end("alive")
    assert (done.returncode, done.stdout, done.stderr) == (7, "the last line\n", "")


def test_without_threads_the_end_is_the_usual_one() -> None:
    assert end("none").stdout.splitlines() == ["the last line", "the interpreter was taken down"]
    assert end("none").returncode == 7

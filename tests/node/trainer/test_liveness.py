"""A step may take as long as it wants; what neither gets on nor computes is ended."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from muster.node.trainer import child_process
from muster.node.trainer.child_process import TrainerDied
from muster.node.trainer.liveness import QUIET_S, STALL_S, WORK_S, Liveness, cpu_s_of
from muster.node.trainer.messages import TaskSource
from muster.node.trainer.process import TrainerProcess
from patience import patient_s

TASK = """
import time
import numpy as np
from torch import nn
from muster.learning.task import Task

class Long(Task):
    name = "long"
    options = {"computes": True, "seconds": 0.0}

    def model(self):
        return nn.Linear(2, 2)

    def training_data(self):
        until_s = time.monotonic() + self.options["seconds"]
        while time.monotonic() < until_s:
            if not self.options["computes"]:
                time.sleep(0.05)
        return np.zeros((20, 2), np.float32), np.arange(20) % 2
"""


def test_a_process_that_computes_does_not_hang() -> None:
    process = Liveness(0.0)
    for minute in range(60):
        process.cpu(60.0 * minute, 1.0 * minute)
        assert not process.hangs(60.0 * minute)


def test_a_process_that_gets_on_does_not_hang() -> None:
    process = Liveness(0.0)
    process.cpu(0.0, 5.0)
    process.progress(STALL_S - 1)
    process.cpu(STALL_S, 5.0)
    assert not process.hangs(STALL_S)
    assert process.hangs(2 * STALL_S)


def test_a_heartbeat_alone_is_no_work() -> None:
    process = Liveness(0.0)
    for second in range(0, 700, 5):
        process.cpu(float(second), WORK_S * second / 1000)
        assert process.hangs(float(second)) == (second >= STALL_S)


def test_people_hear_once_of_a_silence_and_until_when() -> None:
    process = Liveness(0.0)
    process.cpu(0.0, 5.0)
    assert process.warning_s(QUIET_S - 1) is None
    assert process.warning_s(QUIET_S + 5) == STALL_S - QUIET_S - 5
    assert process.warning_s(QUIET_S + 20) is None
    process.progress(100.0)
    assert process.warning_s(100.0 + QUIET_S) == STALL_S - QUIET_S


def test_workers_that_end_take_nothing_away() -> None:
    process = Liveness(0.0)
    process.cpu(0.0, 100.0)
    process.cpu(300.0, 10.0)  # a worker and its time are gone
    process.cpu(500.0, 10.0 + 2 * WORK_S)
    assert not process.hangs(STALL_S + 499.0)


def test_nobody_knows_the_time_of_a_process_that_is_gone() -> None:
    assert cpu_s_of([2**22 + 1]) is None
    assert cpu_s_of([]) is None
    assert (cpu_s_of([os.getpid()]) or 0.0) > 0.0


@pytest.mark.e2e
@pytest.mark.parametrize("computes", [True, False])
def test_a_long_step_is_told_from_a_hang(
    computes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        child_process, "Liveness", lambda now_s, stall_s=0.0: Liveness(now_s, max(stall_s, 4.0))
    )
    monkeypatch.setattr(child_process, "LOOK_S", 0.2)
    path = tmp_path / "long.py"
    path.write_text(TASK)

    async def main() -> None:
        said: list[str] = []
        trainer = TrainerProcess(said.append)
        try:
            async with asyncio.timeout(patient_s(100)):
                await trainer.open(TaskSource(str(path), niceness=0))  # imports are over
                source = TaskSource(
                    str(path), {"computes": computes, "seconds": 9.0 if computes else 90.0}, niceness=0
                )
                if computes:
                    assert (await trainer.open(source)).samples == 18
                else:
                    with pytest.raises(TrainerDied, match="neither got on nor computed"):
                        await trainer.open(source)
                    assert len(said) == 1
                    assert said[0].startswith("the trainer does not move: it is ended in ")
        finally:
            await trainer.close()

    asyncio.run(main())

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from muster.compression import tensors
from muster.compression.codecs.families import parse
from muster.compression.model import encode_update
from muster.errors import MusterError
from muster.node.trainer.child_process import TrainerDied
from muster.node.trainer.messages import Progress, TaskSource
from muster.node.trainer.process import TrainerProcess
from patience import patient_s

TASK = """
import os, sys, time
import numpy as np
from torch import nn
from muster.learning.task import Task

class Toy(Task):
    name = "toy"
    options = {"mode": ""}

    def model(self):
        return nn.Linear(4, 2)

    def training_data(self):
        print("a task may print what it likes")
        rng = np.random.default_rng(0)
        x = rng.normal(size=(200, 4)).astype(np.float32)
        return x, (x[:, 0] > 0).astype(np.int64)

    def loss(self, output, target):
        mode = self.options.get("mode")
        if mode == "raise":
            raise RuntimeError("no such luck")
        if mode == "die" and len(target) == 7:
            print("about to die", file=sys.stderr, flush=True)
            os._exit(3)
        if mode == "slow":
            time.sleep(0.002)
        if mode == "noise":
            sys.stderr.write("x" * 300_000)
        return super().loss(output, target)
"""
RECIPE: dict[str, Any] = {"steps": 5, "lr": 0.1, "batch": 10, "momentum": 0.9, "seed": 1}


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., TaskSource]:
    path = tmp_path / "toy.py"
    path.write_text(TASK)

    def make(**options: Any) -> TaskSource:
        return TaskSource(str(path), options, niceness=0)

    return make


def run(work: Callable[[TrainerProcess], Awaitable[None]]) -> None:
    """`work` with a trainer that is closed afterwards, whatever happens; nothing may hang."""

    async def main() -> None:
        trainer = TrainerProcess()
        try:
            async with asyncio.timeout(patient_s(60)):
                await work(trainer)
        finally:
            await trainer.close()

    asyncio.run(main())


def test_the_daemon_does_not_import_torch() -> None:
    code = "import muster.node.trainer.process, muster.algorithms.aggregation, muster.learning.task, sys;"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_trainer_has_the_whole_interface() -> None:
    trainer = TrainerProcess()
    assert isinstance(trainer, TrainerProcess)


@pytest.mark.e2e
def test_a_job_in_the_child(source: Callable[..., TaskSource], tmp_path: Path) -> None:
    base, one, two = tmp_path / "base", tmp_path / "one", tmp_path / "two"

    async def work(trainer: TrainerProcess) -> None:
        facts = await trainer.open(source())
        assert (facts.name, facts.samples, facts.common) == ("toy", 180, 0)
        assert [label for label, _ in facts.classes] == [0, 1]
        assert await trainer.measure_speed(10) > 0
        await trainer.initial(base, 7)
        trained = await trainer.train(base, one, **RECIPE)
        assert (trained.steps, trained.examples) == (5, 50)
        await trainer.train(base, two, **RECIPE)
        assert one.read_bytes() == two.read_bytes()
        before, update = tensors.read(facts.layout, base), tensors.read(facts.layout.changes, one)
        after = {name: before[name] + update[name] for name in before}
        tensors.write(facts.layout, two, after)
        first, then = await trainer.evaluate(base, "own"), await trainer.evaluate(two, "own")
        assert first.examples == then.examples == 20
        assert then.figures["loss"] < first.figures["loss"]
        assert (await trainer.evaluate(two, "common")).examples == 0
        message = encode_update(parse("dense32"), facts.layout, update)
        (tmp_path / "update").write_bytes(message)
        parts: list[tuple[float, bytes | Path, bytes]] = [
            (0.5, message, b""), (0.5, tmp_path / "update", b"")
        ]  # fmt: skip
        valued = await trainer.value(base, parts, "own", 500)
        assert valued.before == pytest.approx(first.figures["loss"][0] / 20)
        assert valued.after == pytest.approx(then.figures["loss"][0] / 20)
        assert valued.values[0] == valued.values[1]
        assert sum(valued.values) == pytest.approx(valued.before - valued.after, rel=0.05)
        assert (await trainer.value(base, parts, "common", 500)).examples == 0
        await trainer.export(two, tmp_path / "m.safetensors", "safetensors", {"task": "toy"})
        await trainer.initial(one, 0, tmp_path / "m.safetensors")
        assert one.read_bytes() == two.read_bytes()
        pid = trainer.pid
        await trainer.close()
        assert pid is not None
        assert not psutil.pid_exists(pid)

    run(work)


@pytest.mark.e2e
def test_faults_of_a_task_are_told_with_file_and_line(
    source: Callable[..., TaskSource], tmp_path: Path
) -> None:
    line = next(i for i, text in enumerate(TASK.splitlines(), 1) if "no such luck" in text)

    async def work(trainer: TrainerProcess) -> None:
        with pytest.raises(MusterError, match=rf"toy\.py, line {line}: RuntimeError: no such luck") as caught:
            await trainer.open(source(mode="raise"))
        assert caught.value.code == "task_fault"
        with pytest.raises(MusterError, match="use one of") as caught:
            await trainer.open(TaskSource("no-such-task"))
        assert caught.value.code == "unknown_task"
        await trainer.open(source())
        await trainer.initial(tmp_path / "base", 0)
        with pytest.raises(MusterError, match="learning rate"):
            await trainer.train(tmp_path / "base", tmp_path / "out", **(RECIPE | {"lr": 3e38}))
        assert not (tmp_path / "out").exists()

    run(work)


@pytest.mark.e2e
def test_a_child_that_dies_is_an_event_and_the_next_request_starts_another(
    source: Callable[..., TaskSource], tmp_path: Path
) -> None:
    base, out = tmp_path / "base", tmp_path / "out"

    async def work(trainer: TrainerProcess) -> None:
        await trainer.open(source(mode="die"))
        await trainer.initial(base, 0)
        with pytest.raises(TrainerDied, match=r"status 3: .*about to die"):
            await trainer.train(base, out, **(RECIPE | {"batch": 7}))
        assert (await trainer.train(base, out, **RECIPE)).steps == 5
        assert trainer.pid is not None
        os.kill(trainer.pid, signal.SIGKILL)
        with pytest.raises(TrainerDied, match="status -9"):
            await trainer.train(base, out, **RECIPE)
        assert (await trainer.train(base, out, **RECIPE)).steps == 5

    run(work)


@pytest.mark.e2e
def test_progress_and_cancellation(source: Callable[..., TaskSource], tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"

    async def work(trainer: TrainerProcess) -> None:
        await trainer.open(source(mode="slow"))
        await trainer.initial(base, 0)
        for end in ("cancel", "task", "twice"):
            seen: list[Progress] = []
            some = asyncio.Event()

            def note(progress: Progress, seen: list[Progress] = seen, some: asyncio.Event = some) -> None:
                seen.append(progress)
                some.set()

            long = RECIPE | {"steps": 1_000_000}
            training = asyncio.create_task(trainer.train(base, out, **long, progress=note))
            await some.wait()
            if end == "cancel":
                await trainer.cancel()
                with pytest.raises(MusterError, match="cancelled"):
                    await training
            else:
                training.cancel()
                if end == "twice":  # while the child is still being told to stop
                    await asyncio.sleep(0)
                    training.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await training
            assert 0 < seen[0].done < seen[0].of == 1_000_000
            assert not out.exists()
        assert (await trainer.train(base, out, **RECIPE)).steps == 5

    run(work)


@pytest.mark.e2e
def test_a_flood_on_stderr_does_not_block(source: Callable[..., TaskSource], tmp_path: Path) -> None:
    async def work(trainer: TrainerProcess) -> None:
        await trainer.open(source(mode="noise"))
        await trainer.initial(tmp_path / "base", 0)
        assert (await trainer.train(tmp_path / "base", tmp_path / "out", **RECIPE)).steps == 5

    run(work)


@pytest.mark.e2e
def test_throttle_stretches_a_step(source: Callable[..., TaskSource]) -> None:
    async def work(trainer: TrainerProcess) -> None:
        await trainer.open(source(mode="slow"))
        plain_s = await trainer.measure_speed(32)
        slow = TaskSource(source().reference, {"mode": "slow"}, niceness=0, throttle=8.0)
        await trainer.open(slow)
        assert await trainer.measure_speed(32) > 3 * plain_s

    run(work)


@pytest.mark.e2e
def test_training_tells_how_long_a_step_took(source: Callable[..., TaskSource], tmp_path: Path) -> None:
    async def work(trainer: TrainerProcess) -> None:
        base, out = tmp_path / "base", tmp_path / "out"
        await trainer.open(source(mode="slow"))
        await trainer.initial(base, 0)
        plain_s = (await trainer.train(base, out, **RECIPE)).step_s
        assert 0.002 <= plain_s < 0.5
        await trainer.open(TaskSource(source().reference, {"mode": "slow"}, niceness=0, throttle=8.0))
        assert (await trainer.train(base, out, **RECIPE)).step_s > 3 * plain_s

    run(work)


@pytest.mark.e2e
def test_a_share_of_the_time_comes_on_top_of_the_throttle(source: Callable[..., TaskSource]) -> None:
    async def work(trainer: TrainerProcess) -> None:
        await trainer.open(TaskSource(source().reference, {"mode": "slow"}, niceness=0, throttle=2.0))
        plain_s = await trainer.measure_speed(32)
        trainer.share = 0.25
        began_s = time.monotonic()
        part_s = await trainer.measure_speed(32)
        assert 2 * plain_s < part_s < 8 * plain_s
        assert time.monotonic() - began_s > part_s, "and it takes that long"
        trainer.share = 1.0
        assert await trainer.measure_speed(32) < part_s / 2

    run(work)


@pytest.mark.e2e
def test_the_child_does_not_outlive_its_parent(source: Callable[..., TaskSource]) -> None:
    code = (
        "import asyncio, os, sys\n"
        "from muster.node.trainer.process import TrainerProcess\n"
        "from muster.node.trainer.messages import TaskSource\n"
        "async def main():\n"
        "    trainer = TrainerProcess()\n"
        "    await trainer.open(TaskSource(sys.argv[1]))\n"
        "    print(trainer.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source().reference],
        stdout=subprocess.PIPE,
        check=False,
        timeout=patient_s(60),
    )
    child = int(done.stdout)
    gone = not psutil.pid_exists(child)
    if not gone:
        process = psutil.Process(child)
        gone = process.status() == psutil.STATUS_ZOMBIE or not psutil.wait_procs([process], 5)[1]
    assert gone
    assert np.sign(done.returncode) == -1

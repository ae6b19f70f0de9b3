"""What a task does not train, out of one node's trainer and into another's."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from muster.learning.faults import TaskFault
from muster.learning.task import Task
from muster.node.trainer.messages import TaskSource
from muster.node.trainer.process import TrainerProcess
from muster.node.trainer.task_session import TaskSession

LORA = """
from pathlib import Path
import numpy as np
import torch
from torch import nn
from muster.learning.task import Task


class Lora(Task):
    name = "lora"
    options = {"backbone": ""}

    def model(self):
        found = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 2))
        found[0].requires_grad_(False)
        if self.options["backbone"]:
            torch.manual_seed(int(self.options["backbone"]))
            nn.init.normal_(found[0].weight)
        return found

    def training_data(self):
        x = np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)
        return x, (x[:, 0] > 0).astype(np.int64)
"""


class Wide(Task):
    """Frozen tensors of many types, values that are not finite, and a module that cannot be copied."""

    name = "wide"
    options = {"seed": 0}  # noqa: RUF012
    uncopied = False
    frozen_width = 8

    def model(self) -> nn.Module:
        torch.manual_seed(int(self.options["seed"]))
        found = nn.Sequential()
        found.backbone = nn.Linear(6, self.frozen_width).requires_grad_(False)
        found.half = nn.Linear(self.frozen_width, 4).to(torch.bfloat16).requires_grad_(False)
        found.tied = nn.Linear(self.frozen_width, 4).requires_grad_(False)
        found.tied.weight = nn.Parameter(found.backbone.weight[:4, :1].expand(4, 8).clone(), False)
        found.register_buffer("mask", torch.full((2, 2), -torch.inf))
        found.register_buffer("turns", torch.polar(torch.ones(3), torch.rand(3)))
        found.register_buffer("flags", torch.rand(5) > 0.5)
        found.head = nn.Linear(6, 2)
        found.forward = lambda x: nn.functional.linear(x, found.head.weight, found.head.bias)
        if self.uncopied:
            found.__deepcopy__ = lambda memo: copy.copy(1 / 0)
        return found

    def training_data(self) -> Any:
        x = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32)
        return x, (x[:, 0] > 0).astype(np.int64)


def session(seed: int, task: type[Wide] = Wide) -> TaskSession:
    opened = task()
    opened.options = {"seed": seed}
    return TaskSession(opened)


def do(session: TaskSession, what: str, **arguments: Any) -> dict[str, Any]:
    return session.do(what, arguments, lambda _: None)


def exported(session: TaskSession, folder: Path) -> dict[str, Any]:
    base, out = folder / "base", folder / "out.safetensors"
    do(session, "initial", seed=0, source=None, out=str(base))
    do(session, "export", base=str(base), out=str(out), format="safetensors", metadata={})
    return load_file(out)


@pytest.mark.parametrize("uncopied", [False, True])
def test_what_is_frozen_comes_through_to_the_bit(tmp_path: Path, uncopied: bool) -> None:
    class Kind(Wide):
        pass

    Kind.uncopied = uncopied
    a, b = session(1, Kind), session(2, Kind)
    theirs = a.facts()["fingerprint"]
    differs = do(b, "differs", fingerprint=theirs)
    assert differs["in_frozen"]
    assert "frozen or constant" in differs["sentence"]
    part = tmp_path / "part"
    named = do(a, "frozen", out=None)
    assert do(a, "frozen", out=str(part)) == named
    assert hashlib.sha256(part.read_bytes()).digest() == named["blob"]
    assert part.stat().st_size == named["size_bytes"]
    do(b, "take_frozen", path=str(part), fingerprint=theirs)
    assert b.facts()["fingerprint"] == theirs
    assert do(b, "frozen", out=None) == named
    state, other = a.opened.working_model().state_dict(), b.opened.working_model().state_dict()
    fixed = [name for name in state if not name.startswith("head")]
    assert len(fixed) == 9
    for name in fixed:
        mine, his = (t.reshape(-1).view(torch.uint8) for t in (state[name], other[name]))
        assert torch.equal(mine, his), name
    # it trains from here on: nothing has strayed
    base = tmp_path / "base"
    do(b, "initial", seed=0, source=None, out=str(base))
    recipe = {"steps": 2, "lr": 0.1, "batch": 8, "momentum": 0.0, "seed": 1}
    do(b, "train", base=str(base), out=str(tmp_path / "update"), **recipe)


def test_a_frozen_part_of_another_job_or_model_is_refused(tmp_path: Path) -> None:
    class Wider(Wide):
        frozen_width = 8

        def model(self) -> nn.Module:
            found = super().model()
            found.more = nn.Linear(3, 3).requires_grad_(False)
            return found

    a, b = session(1), session(2)
    part = tmp_path / "part"
    do(b, "frozen", out=str(part))
    with pytest.raises(TaskFault, match="not the one that it was asked with"):
        do(session(3), "take_frozen", path=str(part), fingerprint=a.facts()["fingerprint"])
    do(session(1, Wider), "frozen", out=str(part))
    with pytest.raises(TaskFault, match="does not fit the task here"):
        do(b, "take_frozen", path=str(part), fingerprint=a.facts()["fingerprint"])
    assert not do(b, "differs", fingerprint=session(1, Wider).facts()["fingerprint"])["in_frozen"]
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(TaskFault, match="does not fit the task here"):
        do(b, "take_frozen", path=str(part), fingerprint=a.facts()["fingerprint"])


def test_a_trainer_that_starts_again_takes_it_again(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "lora.py").write_text(LORA)
        first, second = TrainerProcess(), TrainerProcess()
        try:
            facts = await first.open(TaskSource(str(tmp_path / "lora.py"), {"backbone": "5"}, niceness=0))
            other = await second.open(TaskSource(str(tmp_path / "lora.py"), niceness=0))
            assert other.fingerprint[:24] == facts.fingerprint[:24] != other.fingerprint
            blob, size_bytes = await first.frozen(tmp_path / "part")
            assert size_bytes == (tmp_path / "part").stat().st_size
            await second.take_frozen(tmp_path / "part", facts.fingerprint)
            assert (await second.frozen())[0] == blob
            assert second._child is not None
            await second._child.end(0.0)
            assert (await second.frozen())[0] == blob  # of a new child
        finally:
            await first.close()
            await second.close()

    asyncio.run(story())

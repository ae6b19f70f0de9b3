"""Both sides of a partition prune; they meet, and nothing of either side is lost or bent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.shape import Shape
from muster.compression.buffers import weights
from muster.compression.tensors import Array
from muster.job.models import merging
from muster.protocol.parts import Prune
from muster.simulation import faults as f
from muster.simulation.judging.check import Verdict, judge, story
from muster.simulation.schedule import Schedule, TimedFault
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.virtual.pipe import PathParams

APART = f.Partition((("a", "b"), ("c", "d")))


def scene(first: int = 5, last: int = 5, down_codec: str = "topk:0.05") -> Verdict:
    """Four nodes, of which `d` is slow: its updates are late across the pruning."""
    link = PathParams(rate_bytes_s=1e6, delay_s=0.01)
    pairs = ("ab", "cd", "ac", "bd")
    nodes = tuple(MachineSpec(n, 100, 0.9 if n == "d" else 0.25) for n in "abcd")
    job = JobSpec(
        "a", 5.0, 16, None, 20, 0.05, 10.0, 2, "topk:0.2", down_codec, server_momentum=0.5,
        prune=Prune(0.5, first, last),
    )  # fmt: skip
    spec = WorldSpec(
        3, nodes, tuple(WireSpec(a, b, link) for a, b in pairs), TaskSpec(weights=300, per_channel=4), (job,)
    )
    events = (TimedFault(25.0, APART), TimedFault(140.0, f.Heal()))
    return judge(Schedule(3, "pruned apart", spec, events, 400.0))


@pytest.mark.parametrize(("first", "last"), [(5, 5), (4, 8)])
def test_branches_that_were_pruned_apart_become_one_small_model(first: int, last: int) -> None:
    verdict = scene(first, last)
    assert verdict.good, story(verdict)
    assert verdict.merges
    pruned = [name for _, name, text in verdict.story if "the model is pruned" in text]
    assert len(set(pruned)) >= 2, story(verdict)  # on both sides


def not_by_index(self: Form, vector: np.ndarray, old: Form) -> np.ndarray:
    size = weights(self.layout)
    return vector[:size] if size <= vector.size else np.pad(vector, (0, size - vector.size))


def update_not_by_index(
    self: Form, change: Mapping[str, Array], old: Form, base: Callable[[], Any]
) -> Mapping[str, Array]:
    count = self.layout.tensors[0].shape[0]
    found = change["w"][:count]
    return {"w": np.pad(found, ((0, count - len(found)), (0, 0)))}


def first_half(structure: object, a: object, shape_a: Shape, b: object, shape_b: Shape) -> Shape:
    return shape_a


@pytest.mark.parametrize(
    ("owner", "name", "bug", "rule"),
    [
        (Form, "residual", not_by_index, "residual"),
        (Form, "residual", lambda self, vector, old: np.zeros(weights(self.layout), np.float32), "residual"),
        (Form, "change", update_not_by_index, "arithmetic"),
        (merging, "joined_shape", first_half, "arithmetic"),
    ],
)
def test_the_rules_notice_what_is_not_sliced(
    owner: object, name: str, bug: Callable[..., object], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, bug)
    verdict = scene(down_codec="dense32")
    assert any(text.startswith(f"{rule}:") for text in verdict.broken), story(verdict)

"""Which kind of simulated training a task names: `linear` in closed form, or `tiny` on data."""

from __future__ import annotations

import random
from collections.abc import Callable

from muster.algorithms.slimming.structure import Group, Slot, Structure
from muster.compression.tensors import Layout
from muster.simulation.specs import MachineSpec, TaskSpec, WorldSpec
from muster.simulation.trainers import linear, tiny
from muster.simulation.trainers.base import SimTrainer
from muster.storage.store import Store


def task_name(task: TaskSpec) -> str:
    return tiny.TASK if task.kind == "tiny" else linear.TASK


def layout_of(task: TaskSpec) -> Layout:
    return tiny.LAYOUT if task.kind == "tiny" else linear.layout_of(task.weights, task.per_channel)


def structure_of(layout: Layout) -> Structure:
    """A channel is a row of a model's first tensor."""
    first = layout.tensors[0]
    return Structure((Group(first.shape[0], (Slot(first.name, 0),)),))


def initial_blob(task: TaskSpec) -> bytes:
    """The parameters that a job begins with."""
    return tiny.initial_blob() if task.kind == "tiny" else linear.initial_blob(layout_of(task))


def trainer_of(
    world: WorldSpec,
    spec: MachineSpec,
    number: int,
    store: Store,
    rng: random.Random,
    on_trained: Callable[[SimTrainer], None],
) -> SimTrainer:
    """The trainer of the world's machine `number`; its data follows from the world's seed."""
    task, other = world.task, spec.unwilling == "other_version"
    if task.kind == "tiny":
        layout = linear.layout_of(3) if other else tiny.LAYOUT
        return tiny.TinyTrainer(
            tiny.facts_of(layout, spec.samples, task.common), store,
            tiny.examples(world.seed, number, spec.samples),
            tiny.examples(world.seed, -1, tiny.COMMON_EXAMPLES), spec.step_s, rng, on_trained,
        )  # fmt: skip
    layout = linear.layout_of(task.weights + other * task.per_channel, task.per_channel)
    target = linear.target_of(world.seed * 100 + number, task.weights)
    facts = linear.facts_of(layout, spec.samples, task.common)
    return linear.LinearTrainer(facts, store, target, spec.step_s, rng, on_trained)

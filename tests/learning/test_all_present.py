"""The yardstick of jobs that nodes missed: rounds with everybody, in one process."""

from __future__ import annotations

import numpy as np

from muster.learning import all_present, local_training, params
from muster.learning.data import open_data
from muster.learning.digits import Digits
from muster.learning.evaluation import evaluate
from muster.learning.sources.arrays import ArraySource
from muster.protocol.parts import Recipe

RECIPE = Recipe(lr=0.1, batch=16, steps=0, seed=4, server_momentum=None)


def part(number: int, parts: int, split: str = "alone:2:2") -> ArraySource:
    own = open_data(Digits(split=split, part=number, parts=parts)).own
    assert isinstance(own, ArraySource)
    return own


def test_one_round_of_one_node_is_its_local_training() -> None:
    task, data = Digits(), part(0, 1, "iid")
    found = all_present.trained(task, [data], RECIPE, rounds=1, steps=5)
    model = params.fresh_model(task, 4)
    seed = 4 * 1_000_003 + 1_009
    local_training.train(task, model, data, steps=5, lr=0.1, batch=16, momentum=0.0, seed=seed)
    for name, tensor in found.state_dict().items():
        assert np.allclose(tensor.numpy(), model.state_dict()[name].numpy(), atol=1e-6), name


def test_nodes_that_are_alone_with_their_classes_are_learnt_from() -> None:
    task, parts = Digits(), [part(number, 5) for number in range(5)]
    common = open_data(task).common
    assert common is not None
    model = all_present.trained(task, parts, RECIPE, rounds=10, steps=20)
    assert evaluate(task, model, common).accuracy > 0.85
    without = all_present.trained(task, parts[:3], RECIPE, rounds=10, steps=20)
    assert evaluate(task, without, common).accuracy < 0.65

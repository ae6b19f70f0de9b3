from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from toys import Toy, data, trained

from muster.learning import local_training, params
from muster.learning.evaluation import evaluate
from muster.learning.faults import TaskFault
from muster.learning.sources.source import as_source


def test_training_is_a_function_of_its_seed() -> None:
    one, two, other = (trained(**c)[0].state_dict() for c in ({}, {}, {"seed": 4}))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


def test_training_learns_and_counts() -> None:
    model, done = trained()
    assert (done.steps, done.examples) == (30, 480)
    measured = evaluate(Toy(), model, data())
    assert measured.examples == 300
    assert measured.accuracy > 0.9
    untrained = evaluate(Toy(), params.fresh_model(Toy(), 0), data())
    assert measured.loss < untrained.loss


def test_a_step_is_plain_sgd() -> None:
    """One step on all data by hand: w - lr * gradient."""
    model = params.fresh_model(Toy(), 0)
    twin = params.fresh_model(Toy(), 0)
    local_training.train(Toy(), model, data(), steps=1, lr=0.1, batch=300)
    nn.functional.cross_entropy(twin.train()(data().x), data().y).backward()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert q.grad is not None
        assert torch.allclose(p, q - 0.1 * q.grad, atol=1e-6)


def test_every_sample_is_seen_once_an_epoch() -> None:
    seen: list[int] = []

    class Spy(Toy):
        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            seen.extend(target.tolist())
            return super().loss(output, target)

    local_training.train(Spy(), params.fresh_model(Toy(), 0), data(), steps=10, lr=0.1, batch=30)
    assert np.bincount(seen).tolist() == [100, 100, 100]


def test_a_step_may_be_the_last() -> None:
    def stop(done: int, loss: float) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(on_step=stop)


def test_faults_while_training() -> None:
    with pytest.raises(TaskFault, match="learning rate"):
        trained(lr=1e38)
    with pytest.raises(TaskFault, match="no samples"):
        local_training.init(Toy(), nn.Linear(2, 3), data().at([]), lr=0.1, batch=1, momentum=0, seed=0)
    with pytest.raises(TaskFault, match="first axis"):
        as_source((np.zeros((3, 2)), np.zeros(4)), "training_data")
    with pytest.raises(TaskFault, match=r"\(x, y\)"):
        as_source(3, "training_data")

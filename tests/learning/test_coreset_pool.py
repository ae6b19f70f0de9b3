"""Training on coresets: batches by weight that look like the node's own, at a rate that falls."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toys import Plain, Toy, data

from muster.coresets.coreset import Coreset, Space
from muster.learning import local_training, params
from muster.learning.digits import Digits
from muster.learning.faults import TaskFault
from muster.learning.hooks.augmenting import jittered
from muster.learning.hooks.optimisers import Optimisers, Sgd
from muster.learning.sources.arrays import as_arrays
from muster.learning.sources.coresets import Pool, drawn, pool

PLANE = Space("table", (2,), np.float32([-4.0]), np.float32([8.0]), 3)


def coreset(labels: list[int], weights: list[float], space: Space = PLANE) -> Coreset:
    """Points whose inputs say which sample they are."""
    levels = np.zeros((len(labels), *space.shape), np.uint8)
    levels.reshape(len(labels), -1)[:, 0] = np.arange(len(labels))
    return Coreset(space, "samples", 8, levels, np.int64(labels), np.float32(weights))


def unchanged(batch: Any) -> Any:
    return batch


def labels_of(source: Pool, batches: int, batch: int = 20) -> np.ndarray[Any, Any]:
    found = itertools.islice(source.batches(batch, seed=1), batches)
    return np.concatenate([b.data[1].numpy() for b in found])


def test_samples_come_as_often_as_they_weigh() -> None:
    source = pool([(coreset([0, 1], [1.0, 3.0]), 100.0), (coreset([2], [7.0]), 300.0)], data(), unchanged)
    counts = np.bincount(labels_of(source, 200), minlength=3) / 4000
    assert counts == pytest.approx([25 / 400, 75 / 400, 300 / 400], abs=0.01)


def test_equal_weights_are_an_epoch_after_another() -> None:
    batches = list(itertools.islice(drawn(np.full(10, 2.5), 5, seed=3), 8))
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        assert sorted([*first, *second]) == list(range(10))
    assert [b.tolist() for b in itertools.islice(drawn(np.ones(10), 5, 3), 8)] == [
        b.tolist() for b in batches
    ]


def test_a_batch_is_full_where_there_are_fewer_samples() -> None:
    [places] = itertools.islice(drawn(np.float64([1.0]), 32, seed=0), 1)
    assert places.tolist() == [0] * 32


def test_the_own_data_have_their_part_in_each_batch() -> None:
    own = as_arrays((np.full((50, 2), 7, np.float32), np.zeros(50, np.int64)), "training_data")
    source = pool([(coreset([1, 2], [1.0, 1.0]), 300.0)], own, unchanged, own_weight=100.0)
    for batch in itertools.islice(source.batches(20, seed=1), 5):
        assert batch.count == 20
        assert int((batch.data[1] == 0).sum()) == 5


def test_batches_look_like_the_nodes_own() -> None:
    own = as_arrays({"x": np.zeros((5, 2), np.uint8), "y": np.zeros((5, 1), np.int32)}, "training_data")
    batch = next(pool([(coreset([1, 2], [1.0, 1.0]), 2.0)], own, unchanged).batches(4, 1))
    assert batch.data["x"].dtype == torch.uint8
    assert batch.data["y"].dtype == torch.int32
    assert batch.data["y"].shape == (4, 1)


def test_what_does_not_fit_the_task_is_refused() -> None:
    other = Space("table", (3,), np.float32([0.0]), np.float32([1.0]), 3)
    with pytest.raises(TaskFault, match=r"shape \(3,\), the task here of \(2,\)"):
        pool([(coreset([0], [1.0], other), 1.0)], data(), unchanged)
    with pytest.raises(TaskFault, match="where training_data"):
        pool([(coreset([0], [1.0]), 1.0)], as_arrays({"ids": np.zeros((4, 2))}, "t"), unchanged)


def test_a_model_learns_from_a_coreset_in_place_of_data() -> None:
    x, y = Toy().training_data()
    few = np.concatenate([np.flatnonzero(y == c)[:10] for c in range(3)])
    levels = np.rint((x[few] + 4.0) / 12.0 * 255).astype(np.uint8)
    cloud = Coreset(PLANE, "samples", 8, levels, y[few].astype(np.int64), np.full(30, 10.0, np.float32))
    only_zeros = as_arrays((x[y == 0], y[y == 0]), "training_data")
    model = params.fresh_model(Plain(), 0)
    source = pool([(cloud, 300.0)], only_zeros, unchanged)
    local_training.train(Plain(), model, source, steps=200, lr=0.1, batch=16, seed=1, cosine=True)
    right = (model(torch.from_numpy(x)).argmax(1).numpy() == y).mean()
    assert right > 0.9  # by its own data alone it would be a third


class Seen(Plain):
    def augment(self, batch: Any) -> Any:
        x, y = batch
        return x + 100.0, y


def test_the_tasks_augment_changes_batches_of_coresets() -> None:
    source = pool([(coreset([0, 1], [1.0, 1.0]), 2.0)], data(), Seen().augment, own_weight=2.0)
    assert float(next(source.batches(8, 0)).data[0].min()) > 90.0


def test_the_rate_falls_to_nothing_along_half_a_wave() -> None:
    rates: list[float] = []

    class Watched(Plain):
        def training_step(self, model: nn.Module, batch: Any) -> torch.Tensor:
            rates.append(self.optimizers[0].lr)
            return super().training_step(model, batch)  # type: ignore[return-value]

    local_training.train(
        Watched(), params.fresh_model(Watched(), 0), data(), steps=4, lr=0.2, batch=8, cosine=True
    )
    assert rates == pytest.approx([0.2, 0.2 * 0.85355, 0.1, 0.2 * 0.14645], rel=1e-4)


def test_a_rate_that_a_task_schedules_itself_falls_too_and_comes_back() -> None:
    model = nn.Linear(2, 2)
    torch_sgd, light = (
        torch.optim.SGD(model.parameters(), lr=0.5),
        Sgd(list(model.parameters()), 0.3, 0.0, []),
    )
    with Optimisers([torch_sgd, light]).at_rate(0.1):
        assert torch_sgd.param_groups[0]["lr"] == pytest.approx(0.05)
        assert light.lr == pytest.approx(0.03)
    assert (torch_sgd.param_groups[0]["lr"], light.lr) == (0.5, 0.3)


def test_jitter_moves_images_a_little_and_keeps_their_background() -> None:
    torch.manual_seed(0)
    images = torch.full((64, 1, 28, 28), -0.5)
    images[:, :, 12:16, 12:16] = 2.0
    moved = jittered(images)
    assert moved.shape == images.shape
    assert float(moved.min()) == pytest.approx(-0.5, abs=1e-5)
    light = moved + 0.5
    at = torch.arange(28.0)
    rows = (light.sum((1, 3)) * at).sum(1) / light.sum((1, 2, 3))
    assert float((rows - 13.5).abs().max()) < 2.6
    assert float(rows.std()) > 0.5
    assert float(light.sum((1, 2, 3)).min()) > 0.7 * 16 * 2.5
    still = jittered(images, degrees=0.0, scale=0.0, shift_px=0.0)
    assert torch.allclose(still, images, atol=1e-4)


def test_jitter_turns_without_bending_what_is_not_square() -> None:
    torch.manual_seed(0)
    image = torch.zeros(200, 1, 20, 60)
    image[:, :, 10, 10:50] = 1.0  # a line of 40 pixels across
    turned = jittered(image, degrees=10.0, scale=0.0, shift_px=0.0)
    down, across = torch.meshgrid(torch.arange(20.0) - 9.5, torch.arange(60.0) - 29.5, indexing="ij")
    spread = ((turned[:, 0] * (down**2 + across**2)).sum((1, 2)) / turned.sum((1, 2, 3))).sqrt()
    assert float((spread - spread.mean()).abs().max()) < 0.6  # its length stays, at any angle


def test_the_products_tasks_augment_their_images() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    changed, labels = Digits().augment((x, y))
    assert changed.shape == x.shape
    assert not torch.equal(changed, x)
    assert torch.equal(labels, y)

"""Arrays, data sets, streams and loaders give batches by one interface."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from muster.learning.data import open_data
from muster.learning.faults import TaskFault
from muster.learning.sources.arrays import as_arrays
from muster.learning.sources.clean import clean
from muster.learning.sources.source import Source, as_source
from muster.learning.sources.together import together
from muster.learning.sources.trees import Batch, count_of
from muster.learning.task import Task

X, Y = np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10) % 2


class Numbers(Dataset[Any]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> Any:
        return {"x": X[i], "y": int(Y[i])}


class Counting(IterableDataset[Any]):
    """0, 1, 2, ... 9; from 100 in epoch 1, and so on."""

    def __init__(self) -> None:
        self.epoch, self.begun = 0, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        for i in range(10):
            yield torch.tensor([100.0 * self.epoch + i]), i % 2


def firsts(source: Source, batch: int, count: int, seed: int = 0) -> list[float]:
    """The first number of each sample in `count` batches."""
    trees = [b.data for b in itertools.islice(source.batches(batch, seed), count)]
    return [v for tree in trees for v in of_x(tree)]


def of_x(tree: Any) -> list[float]:
    return [float(v) for v in (tree["x"] if isinstance(tree, dict) else tree[0])[:, 0]]


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        {"x": X, "y": Y},
        Numbers(),
        TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
        lambda batch, seed: DataLoader(Numbers(), batch, shuffle=True),
        DataLoader(Numbers(), 5, shuffle=True),
    ],
    ids=["arrays", "dict", "dataset", "tensors", "function", "loader"],
)
def test_each_sample_once_an_epoch_in_an_order_by_seed(given: Any) -> None:
    source = as_source(given, "training_data")
    assert source.size == 10
    two_epochs = firsts(source, 5, 4)
    assert sorted(two_epochs[:10]) == sorted(two_epochs[10:]) == sorted(X[:, 0])
    assert two_epochs == firsts(source, 5, 4)
    assert two_epochs != firsts(source, 5, 4, seed=1)
    assert [b.count for b in source.once(4)] == ([5, 5] if isinstance(given, DataLoader) else [4, 4, 2])
    assert sum(b.count for b in source.sample(5).once(5)) == 5


@pytest.mark.parametrize("given", [(X, Y), Numbers()], ids=["arrays", "dataset"])
def test_a_part_is_held_out(given: Any) -> None:
    kept, held = as_source(given, "training_data").split(0.1, 0)
    assert held is not None
    assert (kept.size, held.size) == (9, 1) if isinstance(given, Dataset) else (8, 2)
    both = [v for s in (kept, held) for b in s.once(3) for v in of_x(b.data)]
    assert sorted(both) == sorted(X[:, 0])


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (2, 2), (3, 2), (33, 30)])
def test_two_samples_are_left_to_train_on(count: int, kept: int) -> None:
    source, held = as_source((np.zeros((count, 1)), np.zeros(count)), "training_data").split(0.1, 0)
    assert source.size == kept
    assert (held is None) == (count < 3)


def test_a_pytree_of_any_shape_is_a_batch() -> None:
    source = as_source({"a": (X, Y), "b": [[1, 2]] * 10, "c": torch.zeros(10, 3, 2)}, "training_data")
    tree = source.example(3).data
    assert tree["a"][0].shape == (3, 2)
    assert tree["b"].tolist() == [[1, 2]] * 3
    assert tree["c"].shape == (3, 3, 2)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, r"\(x, y\)"),
        (None, r"\(x, y\)"),
        ("path", r"\(x, y\)"),
        ((X, Y[:9]), "first axis"),
        ((X, 3.0), "first axis"),
        (([[1], [1, 2]], [0, 1]), "collate_fn"),
        ((i for i in range(3)), "IterableDataset"),
        (lambda batch: None, r"takes \(batch, seed\)"),
        (lambda batch, seed: 3, "not a DataLoader"),
        (lambda batch, seed: [], "no batch"),
        ((np.array(["a", "b"], object), Y[:2]), "pytree of arrays"),
    ],
    ids=range(11),
)
def test_what_is_no_data_is_named(given: Any, words: str) -> None:
    with pytest.raises(TaskFault, match=words):
        next(as_source(given, "training_data").batches(2, 0))


def test_samples_of_different_shapes_need_a_collate_function() -> None:
    class Ragged(Numbers):
        def __getitem__(self, i: int) -> Any:
            return torch.zeros(1 + i), 0

    with pytest.raises(TaskFault, match="collate_fn"):
        next(as_source(Ragged(), "training_data").batches(4, 0))


def test_a_stream_goes_on_where_it_was() -> None:
    whole = firsts(as_source(Counting(), "training_data"), 4, 5)
    assert whole == [*range(10), *range(100, 110)]
    dataset = Counting()
    source = as_source(dataset, "training_data")
    seen = firsts(source, 4, 2)
    place = source.tell()
    assert place == [0, 8]
    seen += firsts(source, 4, 1)  # in the same process the stream itself goes on
    assert dataset.begun == 2
    again = as_source(Counting(), "training_data")  # after a restart it is read up to its place
    again.seek([1, 2])
    seen += firsts(again, 4, 2)
    assert seen == whole


def test_a_stream_whose_round_is_repeated_begins_at_the_same_place() -> None:
    source = as_source(Counting(), "training_data")
    for _ in range(2):
        source.seek([0, 4])
        assert firsts(source, 2, 2) == [4, 5, 6, 7]


def test_a_tenth_of_a_stream_is_held_out() -> None:
    kept, held = as_source(Counting(), "training_data").split(0.1, 0)
    assert held is not None
    assert [float(v) for b in held.once(5) for v in b.data[0]] == [9.0]
    assert firsts(kept, 9, 2) == [*range(9), *range(100, 109)]
    assert kept.size is None


def test_an_empty_or_endless_stream_hangs_nothing() -> None:
    class Endless(Counting):
        def __iter__(self) -> Iterator[Any]:
            return ((torch.tensor([float(i)]), 0) for i in itertools.count())

    class Empty(Counting):
        def __iter__(self) -> Iterator[Any]:
            return iter(())

    _, held = as_source(Endless(), "training_data").split(0.1, 0)
    assert held is not None
    assert sum(b.count for b in held.once(500)) == 2000
    assert sum(b.count for b in as_source(Endless(), "evaluation_data").once(5000, 7000)) == 7000
    with pytest.raises(TaskFault, match="no samples"):
        firsts(as_source(Empty(), "training_data"), 2, 1)


def anonymous_bytes() -> int:
    """Resident memory without pages of files, which the kernel drops when it needs room."""
    [line] = [text for text in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in text]
    return int(line.split()[1]) * 1024


def test_a_mapped_file_is_not_read_into_memory(tmp_path: Path) -> None:
    rows, width = 3000, 16_384  # 196 MB
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, width))
    del x

    class Mapped(Task):
        name = "mapped"

        def training_data(self) -> Any:
            return np.load(tmp_path / "x.npy", mmap_mode="r"), np.zeros(rows, np.int64)

    before = anonymous_bytes()
    data = open_data(Mapped())
    for _ in range(20):
        next(data.own.batches(32, 0))
    assert data.held_out is not None
    sum(b.count for b in data.held_out.once(32))
    assert anonymous_bytes() - before < 60e6


class Holey(Task):
    name = "holey"

    def training_data(self) -> Any:
        x, y = X.copy(), Y.astype(np.float32)
        x[5, 1], y[7] = np.nan, np.nan
        return x, y


def test_a_row_with_nan_is_named_or_left_out() -> None:
    with pytest.raises(TaskFault, match=r"row 5 of x of training_data\(\) holds NaN, and 1 more rows do"):
        open_data(Holey())

    class Skipping(Holey):
        skip_bad_rows = True

    data = open_data(Skipping())
    assert data.skipped == 2
    assert data.held_out is not None
    assert (data.own.size or 0) + (data.held_out.size or 0) == 8


def test_batches_that_nobody_looked_at_are_cleaned_one_by_one() -> None:
    batch = Batch((torch.tensor([[1.0], [torch.nan], [3.0]]), torch.arange(3)), 3, [10, 11, 12])
    with pytest.raises(TaskFault, match="row 11 of x holds NaN"):
        clean(batch, skip=False)
    left, skipped = clean(batch, skip=True)
    assert (left.data[1].tolist(), left.count, skipped, left.rows) == ([0, 2], 2, 1, [10, 12])


@pytest.mark.parametrize(
    ("tree", "count"),
    [
        ([torch.zeros(3, 2), torch.zeros(3)], 3),
        ({"input_ids": torch.zeros(4, 7), "labels": torch.zeros(4)}, 4),
        (([torch.zeros(3, 8, 8)] * 2, [{"boxes": torch.zeros(5, 4)}] * 2), 2),
        ([[torch.zeros(6, 1), torch.zeros(6, 2)], torch.zeros(6)], 6),
        (torch.zeros(5), 5),
    ],
)
def test_the_samples_of_a_loaders_batch_are_counted(tree: Any, count: int) -> None:
    assert count_of(tree) == count


def test_several_nodes_samples_in_one_place() -> None:
    one, two = as_arrays((X[:4], Y[:4]), "a"), as_arrays((X[4:], Y[4:]), "b")
    assert sorted(firsts(together([one, two]), 5, 2)) == sorted(X[:, 0])
    mixed = together([one, as_source(Numbers(), "c")])
    assert mixed.size == 14
    assert len(list(itertools.islice(mixed.batches(2, 0), 6))) == 6

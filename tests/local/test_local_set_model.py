"""Any order of calls, against a plain model of the set: lists in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.local import raw
from muster.local.limits import Limits
from muster.local.local_set import LocalSet
from muster.local.rows import Answered

RING, KEPT, HELD = 6, 12, 3
LIMITS = Limits(unlabelled=RING, per_second=10_000, labelled=KEPT, held_out=HELD, free_bytes=0)

keys = st.integers(0, 12)
classes = st.integers(0, 2)
calls = st.one_of(
    st.tuples(st.just("answer"), st.lists(st.tuples(keys, classes), max_size=5)),
    st.tuples(st.just("label"), keys, classes),
    st.tuples(st.just("add"), classes),
    st.tuples(st.just("alarm")),
    st.tuples(st.just("snapshot"), st.integers(0, 3)),
    st.tuples(st.just("judge"), st.integers(1, 20), st.booleans()),
    st.tuples(st.just("again")),
)


class Model:
    """Dictionaries by id; `order` has the ids in the order of their labels."""

    def __init__(self) -> None:
        self.next, self.epoch = 1, 0
        self.rows: dict[int, dict[str, int | None]] = {}
        self.key: dict[str, int] = {}
        self.order: list[int] = []
        self.judged: dict[int, bool] = {}
        self.snapshots: dict[str, tuple[int, int]] = {}  # job -> (epoch, labels given until then)

    def add(self, key: str, answer: int | None) -> int:
        self.rows[self.next] = {"epoch": self.epoch, "label": None, "answer": answer}
        self.key[key] = self.next
        self.next += 1
        ring = [i for i, row in self.rows.items() if row["label"] is None]
        for gone in ring[:-RING]:
            self.drop(gone)
        return self.next - 1

    def drop(self, gone: int) -> None:
        del self.rows[gone]
        self.key = {k: i for k, i in self.key.items() if i != gone}

    def label(self, id_: int, label: int) -> None:
        row = self.rows[id_]
        if row["label"] is None:
            self.order.append(id_)
        row["label"] = label
        self.judged.pop(id_, None)
        if row["answer"] is not None:
            self.judged[id_] = row["answer"] == label


@settings(max_examples=60, deadline=None)
@given(st.lists(calls, max_size=60))
def test_any_order_of_calls(sequence: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, model, given_n = Path(folder) / "a.sqlite", Model(), 0
        local = LocalSet.open(path, LIMITS)
        for name, *values in sequence:
            if name == "answer":
                rows = [Answered(f"k{k}", np.full(3, c, np.int8), c, c / 3, "v") for k, c in values[0]]
                ids = local.add_answers(rows)
                assert ids == [model.add(row.key, int(row.answer or 0)) for row in rows]
            elif name == "label":
                id_ = model.key.get(f"k{values[0]}")
                assert local.label(f"k{values[0]}", values[1]) == (id_ is not None)
                if id_ is not None:
                    given_n += model.rows[id_]["label"] is None
                    model.label(id_, values[1])
            elif name == "add":
                id_ = local.add_labelled(np.full(3, values[0], np.int8), values[0])
                model.rows[id_] = {"epoch": model.epoch, "label": None, "answer": None}
                model.next = id_ + 1
                model.label(id_, values[0])
                given_n += 1
            elif name == "alarm":
                model.epoch += 1
                assert local.alarm(7.0, "test") == model.epoch
            elif name == "snapshot":
                job = f"j{values[0]}"
                epoch, until = model.snapshots.setdefault(job, (model.epoch, given_n))
                taken = local.snapshot(job)
                allowed = set(model.order[:until])
                assert set(taken.new.ids) | set(taken.former.ids) <= allowed
                assert all(model.rows[i]["epoch"] == epoch for i in taken.new.ids)
                assert not {*taken.new.ids, *taken.former.ids} & set(local.labelled(held=True).ids)
            elif name == "judge":
                local.add_verdicts([(values[0], "w", values[1])])
                row = model.rows.get(values[0])
                if row is not None and row["label"] is not None:
                    model.judged.setdefault(values[0], values[1])
            else:
                local.close()
                local = LocalSet.open(path, LIMITS)
            agree(local, model)
        local.close()


def agree(local: LocalSet, model: Model) -> None:
    found = local.labelled()
    ring = [i for i, row in model.rows.items() if row["label"] is None]
    assert [s.id for s in local.unlabelled(99, uncertain_first=False)] == ring[::-1]
    here = {i for i in ring if model.rows[i]["epoch"] == model.epoch}
    assert {s.id for s in local.unlabelled(99)} == (here or set(ring))
    kept = [i for i in model.order if i in model.rows]
    gone = set(kept) - set(found.ids)  # by the reservoir, which draws
    assert len(found.ids) == min(KEPT, len(kept))
    assert list(found.ids) == [i for i in kept if i not in gone]
    assert set(model.order[-HELD:]) <= set(found.ids)
    for i in gone:
        model.drop(i)
    assert found.y.tolist() == [model.rows[i]["label"] for i in found.ids]
    held, train = local.labelled(held=True), local.labelled(held=False)
    assert len(held.ids) <= HELD
    assert not set(held.ids) & set(train.ids)
    counts = local.counts()
    assert (counts.unlabelled, counts.labelled, counts.epoch) == (len(ring), len(found.ids), model.epoch)
    assert counts.held + len(train.ids) == counts.labelled
    assert counts.labels + counts.labels_before == len(model.judged)
    assert counts.wrong + counts.wrong_before == sum(not right for right in model.judged.values())


arrays = st.builds(
    lambda name, shape, seed: (np.random.default_rng(seed).random(shape) * 200 - 50).astype(name),
    st.sampled_from(raw.DTYPES),
    st.lists(st.integers(0, 6), max_size=4).map(tuple),
    st.integers(0, 9),
)


@given(arrays)
def test_a_sample_comes_back_as_it_was(x: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):
        back = raw.decode(raw.encode(x))
    assert back.dtype == x.dtype
    assert back.shape == x.shape
    assert back.tobytes() == x.tobytes()


@given(arrays, st.data())
def test_damaged_bytes_are_no_sample_or_another_one(x: np.ndarray, data: st.DataObject) -> None:
    wire = bytearray(raw.encode(x))
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(wire), bytes(wire[:at])):
        try:
            back = raw.decode(damaged, 10_000)
        except ValueError:
            continue
        assert back.nbytes <= 10_000


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = bytearray(raw.encode(np.zeros(1_000_000)))
    assert len(bomb) < 50_000
    with pytest.raises(ValueError, match="too large"):
        raw.decode(bytes(bomb), 1000)
    bomb[2:6] = (10).to_bytes(4, "little")  # its header lies
    with pytest.raises(ValueError, match="do not end"):
        raw.decode(bytes(bomb), 1000)

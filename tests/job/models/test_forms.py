"""A model's tensors, changes and residuals follow its form."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings

from made_up_models import drawn_shape, made_up, seeds
from muster.algorithms.slimming.carrying import narrow
from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.structure import Group, Slot, Structure
from muster.compression.change import Difference, Sum
from muster.compression.model import flatten
from muster.compression.tensors import Layout, TensorSpec, check
from muster.job.models.forms import JobForms
from muster.storage.memory import MemoryStore


@given(seeds, seeds, seeds)
@settings(max_examples=40, deadline=None)
def test_a_change_of_an_older_form_leads_where_the_newer_ones_part_of_it_leads(
    seed: int, first: int, second: int
) -> None:
    """Of channels that both have; others stay."""
    model = made_up(seed)
    one, other = (
        Form(model.layout, model.structure, drawn_shape(model.structure, s)) for s in (first, second)
    )
    moved = {
        name: (a + 1 if model.layout.by_name[name].learnt else a).astype(a.dtype)
        for name, a in model.arrays.items()
    }
    old, new = (narrow(arrays, model.structure, one.shape) for arrays in (model.arrays, moved))
    base = narrow(model.arrays, model.structure, other.shape)
    change = other.change(Difference(one.layout, old, new), one, lambda: base)
    check(other.layout.changes, change)
    after = Sum(other.layout, base, change)
    both = narrow(moved, model.structure, other.shape)
    had = other.params(
        {n: np.ones_like(a) for n, a in narrow(model.arrays, model.structure, one.shape).items()}, one
    )
    for name, found in ((n, after[n]) for n in other.layout.by_name):
        has = had[name].astype(bool)
        assert np.allclose(found, np.where(has, both[name], base[name]), rtol=1e-5)


@given(seeds, seeds, seeds)
@settings(max_examples=40, deadline=None)
def test_a_residual_follows_as_the_weights_do(seed: int, first: int, second: int) -> None:
    model = made_up(seed)
    one, other = (
        Form(model.layout, model.structure, drawn_shape(model.structure, s)) for s in (first, second)
    )
    arrays = narrow(model.arrays, model.structure, one.shape)
    carried = other.residual(flatten(one.layout, arrays), one)
    assert np.array_equal(carried, flatten(other.layout, dict(other.params(arrays, one))))


def test_a_statistic_of_a_channel_that_the_sender_had_not_stays_as_it_was() -> None:
    layout = Layout(
        (TensorSpec("w", (3, 2), "float32"), TensorSpec("mean", (3,), "float32", learnt=False)),
    )
    structure = Structure((Group(3, (Slot("w", 0), Slot("mean", 0))),))
    wide, small = Form.of(layout, structure, b""), Form.of(layout, structure, structure.digest + b"\xa0")
    base = {"w": np.zeros((3, 2), np.float32), "mean": np.array([1, 2, 3], np.float32)}
    change = {"w": np.ones((2, 2), np.float32), "mean": np.array([7, 9], np.float32)}
    found = wide.change(change, small, lambda: base)
    assert found["mean"].tolist() == [7, 2, 9]
    assert found["w"].tolist() == [[1, 1], [0, 0], [1, 1]]
    change["mean"] = np.full(2, np.nan, np.float32)  # it did not change
    assert np.isnan(wide.change(change, small, lambda: base)["mean"]).all()
    assert np.isnan(small.change({**base, "mean": np.full(3, np.nan)}, wide, lambda: base)["mean"]).all()


def test_a_node_keeps_what_it_knows_of_the_model_and_refuses_shapes_of_another() -> None:
    model = made_up(2)
    store = MemoryStore(random.Random(1))
    forms = JobForms(store, b"j" * 32)
    assert forms.layout is None
    assert forms.form(b"") is None
    forms.learn_layout(model.layout)
    assert forms.form(b"") == Form.of(model.layout, Structure(), b"")
    assert forms.form(drawn_shape(model.structure, 5).to_bytes(model.structure)) is None
    forms.learn_structure(model.structure)
    shape = drawn_shape(model.structure, 5)
    for known in (forms, JobForms(store, b"j" * 32)):
        found = known.form(shape.to_bytes(model.structure))
        assert found is not None
        assert found.shape == shape
        whole = known.form(b"")
        assert whole is not None
        assert whole.layout == model.layout
        assert known.form(bytes(8) + b"\x80") is None

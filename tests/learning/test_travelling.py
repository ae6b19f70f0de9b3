from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from muster.compression.tensors import TensorError, pack
from muster.learning import params
from muster.learning.faults import TaskFault
from muster.learning.hooks import modes
from muster.learning.task import Task
from muster.learning.travel.fingerprint import differs, fingerprint
from muster.learning.travel.hashes import fixed_hash
from muster.learning.travel.kinds import Travelling, changed_by, decide, kept_here, retie


class Norm(nn.Module):
    """A batch norm whose buffers have names that nobody knows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("moving_var", torch.ones(width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("eps", torch.tensor(1e-5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.moving_var = 0.9 * self.moving_var + 0.1 * x.detach().var(0)  # assigned anew
            self.seen += len(x)
        return x / (self.moving_var + self.eps).sqrt()


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, affine=False))
        self.backbone.requires_grad_(False)
        self.norm = Norm(8)
        self.head = nn.Linear(8, 3)
        self.register_buffer("mask", torch.triu(torch.full((3, 3), -torch.inf), 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.backbone(x))) + self.mask[2]


def tried(fresh: nn.Module, local: tuple[str, ...] = ()) -> Travelling:
    """What travels of a model, after a step on a copy of it."""
    model = copy.deepcopy(fresh)
    modes.training_mode(model)
    torch.manual_seed(0)
    return decide(fresh, changed_by(partial(model, torch.randn(9, 4)), model), local)


def masked() -> nn.Module:
    torch.manual_seed(7)
    return Masked()


def test_every_tensor_has_a_kind_that_no_name_decides() -> None:
    found = tried(masked(), ("head.bias",))
    assert {t.name: t.kind for t in found.tensors} == {
        "mask": "constant",
        "backbone.0.weight": "frozen",
        "backbone.0.bias": "frozen",
        "backbone.1.running_mean": "frozen",  # of a module that has nothing to train
        "backbone.1.running_var": "frozen",
        "backbone.1.num_batches_tracked": "frozen",
        "norm.moving_var": "averaged",
        "norm.seen": "counted",
        "norm.eps": "constant",
        "head.weight": "trained",
        "head.bias": "local",
    }
    assert [(s.name, s.learnt) for s in found.layout.tensors] == [
        ("norm.moving_var", False), ("norm.seen", False), ("head.weight", True),
    ]  # fmt: skip


def test_what_does_not_travel_stays_and_is_exported() -> None:
    model, other = masked(), Masked()
    found = tried(model)
    params.load_into(other, found.layout, params.arrays_of(model, found.layout))
    assert torch.equal(other.head.weight, model.head.weight)
    assert not torch.equal(other.backbone[0].weight, model.backbone[0].weight)
    others = kept_here(model, found)
    assert {*others, *found.layout.by_name} == set(model.state_dict())
    assert others["mask"][0, 1] == -np.inf


def test_what_changes_although_it_is_frozen_or_constant_is_named() -> None:
    model = masked()
    found = tried(model)
    assert found.strayed(masked()) is None
    model.norm.eps += 1
    assert found.strayed(model) == "norm.eps"
    model = masked()
    with torch.no_grad():
        model.backbone[0].weight[0, 0] += 1
    assert found.strayed(model) == "backbone.0.weight"


def test_two_parameters_on_one_storage_are_one() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.b.weight = nn.Parameter(self.a.weight)
            self.c = nn.Parameter(self.a.weight.T)  # the same bytes, but another tensor

    model = Shared()
    found = decide(model, {})
    assert found.layout.aliases == (("b.weight", "a.weight"),)
    assert [s.name for s in found.layout.tensors] == ["c", "a.weight"]
    apart = copy.deepcopy(model)
    assert apart.a.weight.data_ptr() != apart.b.weight.data_ptr()
    retie(apart, found)
    assert apart.a.weight.data_ptr() == apart.b.weight.data_ptr()


def test_values_that_a_fresh_model_has_not_are_those_after_the_first_steps() -> None:
    class Observer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("low", torch.tensor(torch.inf))
            self.register_buffer("of_channels", torch.tensor([]))
            self.w = nn.Parameter(torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.low = torch.minimum(self.low, x.detach().min())
            self.of_channels = x.detach().amax(0)
            return x * self.w

    found = tried(Observer())
    assert found.layout.by_name["of_channels"].shape == (4,)
    assert np.isfinite(found.start["low"])
    assert found.start["of_channels"].shape == (4,)


def test_a_type_that_does_not_travel_may_be_any() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("turn", torch.ones(2, dtype=torch.complex64))
    assert "turn" in decide(model, {}).of("constant")
    with pytest.raises(TensorError, match="turn"):
        decide(model, {"turn": model.turn})


def test_state_that_is_no_tensor_stays_here() -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 1}

        def set_extra_state(self, state: dict[str, int]) -> None:
            pass

    found = decide(Extra(2, 2), {})
    assert found.of("local") == ["_extra_state"]
    params.load_into(Extra(2, 2), found.layout, params.arrays_of(Extra(2, 2), found.layout))


class Lazy(Task):
    def model(self) -> nn.Module:
        return nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Linear(4, 2))


def test_lazy_layers_take_their_shape_from_two_samples() -> None:
    with pytest.raises(TaskFault, match=r"0\.weight has no shape"):
        decide(params.fresh_model(Lazy(), 3), {})
    forward = partial(_call, torch.randn(2, 5))
    one, two = params.fresh_model(Lazy(), 3, forward), params.fresh_model(Lazy(), 3, forward)
    layout = params.layout_of(one)
    assert layout.by_name["0.weight"].shape == (4, 5)
    assert pack(layout, params.arrays_of(one, layout)) == pack(layout, params.arrays_of(two, layout))
    assert one.training
    assert int(one[1].num_batches_tracked) == 0


def _call(x: torch.Tensor, model: nn.Module) -> None:
    model(x)


class Half(Task):
    def model(self) -> nn.Module:
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        model[0].requires_grad_(False)
        return model


def test_only_what_is_trained_follows_from_a_jobs_seed() -> None:
    layout = params.layout_of(params.fresh_model(Half(), 0))
    zero, five, again = (params.start_model(Half(), seed, layout) for seed in (0, 5, 5))
    assert torch.equal(zero[0].weight, five[0].weight)
    assert not torch.equal(zero[1].weight, five[1].weight)
    assert torch.equal(five[1].weight, again[1].weight)


def test_local_is_a_list_of_patterns_that_fit() -> None:
    with pytest.raises(TaskFault, match=r"local = \['head\.\*'\]"):
        decide(masked(), {}, "head.*")
    with pytest.raises(TaskFault, match="haed"):
        decide(masked(), {}, ["haed.*"])


def test_the_fingerprint_says_what_differs() -> None:
    def sentence(mine: Travelling, other: Travelling) -> str:
        return differs("t", "1", mine, fingerprint("t", "1", other))

    found = tried(masked())
    assert fingerprint("t", "1", found) == fingerprint("t", "1", tried(masked()))
    assert fingerprint("t", "2", found) != fingerprint("t", "1", found)
    assert "install the same version" in sentence(found, tried(masked(), ("norm.*",)))
    still = decide(masked(), {"norm.moving_var": torch.ones(8)})
    assert "'norm.seen' changes in a step" in sentence(found, still)
    assert "'norm.seen' does not change" in sentence(still, found)
    both = decide(masked(), {})
    assert "'norm.moving_var' and 'norm.seen'" in sentence(found, both)
    moved = masked()
    with torch.no_grad():
        moved.backbone[0].weight[0, 0] += 1e-6
    assert "frozen or constant" in sentence(found, tried(moved))
    head = masked()
    with torch.no_grad():
        head.head.weight += 1  # it travels
    assert fingerprint("t", "1", tried(head)) == fingerprint("t", "1", found)


def test_a_local_head_may_have_other_classes() -> None:
    three, five = (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, classes)) for classes in (3, 5))
    five[0].load_state_dict(three[0].state_dict())
    prints = {fingerprint("t", "1", decide(model, {}, ["1.*"])) for model in (three, five)}
    assert len(prints) == 1


def test_constants_may_differ_in_their_last_bits_and_no_more() -> None:
    wave = torch.sin(torch.arange(4096.0))
    rounded = wave.nextafter(torch.tensor(9.0))
    mask = torch.triu(torch.full((4, 4), -torch.inf))
    assert not torch.equal(wave, rounded)
    assert fixed_hash("w", wave, exact=False) == fixed_hash("w", rounded, exact=False)
    assert fixed_hash("w", wave, exact=True) != fixed_hash("w", rounded, exact=True)
    others = [wave * 1.5, wave + 0.5, wave.flip(0), -wave, torch.zeros(4096), torch.full((4096,), torch.inf)]
    found = {fixed_hash("w", other, exact=False) for other in [wave, *others]}
    assert len(found) == 7
    assert fixed_hash("m", mask, exact=False) != fixed_hash("m", -mask, exact=False)
    torch.manual_seed(0)
    assert len({fixed_hash("r", torch.randn(50), exact=False) for _ in range(100)}) == 100

"""Which channels of a torch module can go together, and the smaller module that is left."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from networks import ChannelsLast, Concatenating, Depthwise, Hard, Mixing, TwoOutputs, chain, resnet
from torch import nn

from muster.algorithms.slimming.carrying import layout_of
from muster.algorithms.slimming.magnitude import by_magnitude
from muster.algorithms.slimming.shape import whole
from muster.algorithms.slimming.structure import Group, Slot, Structure
from muster.learning import params
from muster.learning.digits import Digits
from muster.learning.mnist import MODELS, Mnist
from muster.learning.slimming import structures
from muster.learning.slimming.smaller import narrowed
from muster.learning.slimming.structures import holds, structure_of


def sample(size: int = 8) -> torch.Tensor:
    return torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(1))


def found(model: nn.Module, size: int = 8) -> Structure:
    return structure_of(model, lambda m: m(sample(size)))


def sizes(structure: Structure) -> list[int]:
    return [group.size for group in structure.groups]


def slots(group: Group) -> set[tuple[str, int, int, int]]:
    return {(s.tensor, s.axis, s.block, s.start) for s in group.slots}


def test_a_chain_is_narrowed_between_its_layers_and_not_at_its_ends() -> None:
    structure = found(chain())
    assert [slots(group) for group in structure.groups] == [
        {("0.weight", 0, 1, 0), ("0.bias", 0, 1, 0), ("4.weight", 1, 16, 0)},
        {("4.weight", 0, 1, 0), ("4.bias", 0, 1, 0), ("7.weight", 1, 1, 0)},
    ]


def test_layers_that_are_added_up_are_one_group_and_statistics_go_with_it() -> None:
    structure = found(resnet())
    assert sizes(structure) == [8, 8, 12, 12]
    stem = {s.tensor for s in structure.groups[0].slots}
    assert stem == {
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
        "3.conv1.weight", "3.conv2.weight", "3.norm2.weight", "3.norm2.bias", "3.norm2.running_mean",
        "3.norm2.running_var", "4.conv1.weight", "4.short.0.weight",
    }  # fmt: skip


def test_what_is_concatenated_is_found_at_its_place() -> None:
    structure = found(Concatenating())
    assert sizes(structure) == [4, 6]
    assert ("out.weight", 1, 64, 256) in slots(structure.groups[1])
    assert ("norm.running_var", 0, 1, 4) in slots(structure.groups[1])
    assert {("b.weight", 1, 1, 0), ("out.weight", 1, 64, 0)} <= slots(structure.groups[0])


def test_columns_of_channels_that_come_last_are_found_one_by_one() -> None:
    [group] = found(ChannelsLast()).groups
    columns = [s for s in group.slots if s.tensor == "out.weight"]
    assert [(s.axis, s.block, s.start) for s in columns] == [(1, 1, 4 * i) for i in range(64)]


def test_layers_that_keep_channels_apart_go_with_them() -> None:
    structure = found(Depthwise())
    assert sizes(structure) == [8, 6]
    assert {("deep.weight", 0, 1, 0), ("act.weight", 0, 1, 0), ("up.weight", 0, 1, 0)} <= slots(
        structure.groups[0]
    )
    assert ("up.weight", 1, 1, 0) in slots(structure.groups[1])


def test_a_size_that_the_models_own_code_has_stays() -> None:
    assert [slots(group) for group in found(Hard()).groups] == [
        {("a.weight", 0, 1, 0), ("a.bias", 0, 1, 0), ("b.weight", 1, 1, 0)}
    ]


def test_channels_that_are_mixed_tied_or_come_out_stay_whole() -> None:
    assert found(Mixing()).groups == ()
    assert sizes(found(TwoOutputs())) == [12]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "wrapped", [nn.utils.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.weight_norm]
)
def test_a_weight_that_is_made_of_others_stays_whole(wrapped: Any) -> None:
    def network() -> nn.Module:
        first = wrapped(nn.Linear(64, 8))
        return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(8, 6), nn.Linear(6, 3))

    def again(other: nn.Module) -> nn.Module:
        """The older weight_norm cannot be copied."""
        made = network()
        made.load_state_dict(other.state_dict())
        return made

    structure = structure_of(network(), lambda m: m(sample()), again)
    assert [g.slots[0].tensor for g in structure.groups] == ["3.weight"]


def test_a_wrong_group_is_not_proven() -> None:
    """The columns of consecutive blocks fit in size, and are other channels' ones."""
    model = ChannelsLast()
    right = found(model).groups
    makers = tuple(s for s in right[0].slots if s.tensor != "out.weight")
    wrong = Group(4, (*makers, Slot("out.weight", 1, 64)))
    assert holds(model.eval(), right, lambda m: m(sample()))
    assert not holds(model.eval(), [wrong], lambda m: m(sample()))
    assert not holds(
        model.eval(), [Group(10, (Slot("out.weight", 0), Slot("out.bias", 0)))], lambda m: m(sample())
    )


@pytest.mark.parametrize("make", [chain, resnet, Concatenating, ChannelsLast, Depthwise, Hard, TwoOutputs])
def test_the_smaller_module_is_the_whole_one_without_what_was_left_out(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = make()
    structure = found(model)
    arrays = params.arrays_of(model, params.layout_of(model))
    shape = by_magnitude(arrays, structure, 0.5, whole(structure))
    small = narrowed(copy.deepcopy(model), structure, shape)
    layout = params.layout_of(small)
    assert layout == layout_of(params.layout_of(model), structure, shape)
    assert layout.parameters < params.layout_of(model).parameters
    for module in small.modules():  # what a layer says of itself is true
        if isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        if isinstance(module, nn.BatchNorm2d):
            assert len(module.weight) == module.num_features == len(module.running_mean)
    small.train()
    given = small(sample())
    loss = given.sum() if isinstance(given, torch.Tensor) else given["logits"].sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())
    again = structure_of(small, lambda m: m(sample()))
    assert sizes(again) == [len(kept) for kept in shape.kept if len(kept) > 1]


def test_the_tasks_that_muster_brings_can_be_narrowed() -> None:
    assert sizes(found(Digits().model())) == [16]
    for kind, (one, two, _, hidden) in MODELS.items():
        structure = found(Mnist(model=kind).model(), 28)
        assert sizes(structure) == [one, two, *([hidden] if hidden else [])]


def test_the_same_module_has_the_same_structure_however_it_was_drawn() -> None:
    """Nodes find it each for itself, on data of their own."""
    digests = set()
    for seed in range(3):
        torch.manual_seed(seed)
        model = resnet()
        other = torch.randn(3, 1, 8, 8)
        digests.add(structure_of(model, lambda m, x=other: m(x)).digest)
    assert len(digests) == 1


def test_zeros_of_a_fresh_model_hide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A last layer that begins at zero gives the same outputs whatever was left out."""
    model = ChannelsLast()
    nn.init.zeros_(model.out.weight)
    right = found(model)
    makers = tuple(s for s in right.groups[0].slots if s.tensor != "out.weight")
    wrong = [Group(4, (*makers, Slot("out.weight", 1, 64)))]
    assert holds(model.eval(), wrong, lambda m: m(sample()))
    monkeypatch.setattr(structures, "_groups", lambda *_: wrong)
    assert found(model).groups == ()


def test_the_model_itself_is_left_as_it_is() -> None:
    model = resnet()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training

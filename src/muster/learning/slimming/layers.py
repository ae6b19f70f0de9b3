"""The layers whose width can change: which axes of their tensors are channels that come in or go out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

Axis = tuple[str, int]  # a tensor's name within its layer, and the axis


@dataclass(frozen=True)
class Layer:
    """`made` are axes of the channels that go out, `read` of those that come in.

    A layer without either keeps channels apart, such as a batch norm: `kept` are the axes of its channels,
    which go through it.  `dim` is the axis of the channels in what comes in and in what goes out.
    """

    name: str
    dim: int
    made: tuple[Axis, ...] = ()
    read: tuple[Axis, ...] = ()
    kept: tuple[Axis, ...] = ()
    channels: int = 0  # that it makes


def layers_of(model: nn.Module) -> dict[str, Layer]:
    """The layers of known types in a model, by name, in its order; without those that share a tensor, or have
    one that is made of others, as by weight_norm."""
    held = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    found: dict[str, Layer] = {}
    for name, module in model.named_modules():
        layer = _layer(name, module)
        own = {*dict(module.named_parameters(recurse=False)), *dict(module.named_buffers(recurse=False))}
        if layer is None or not {part for part, _ in (*layer.made, *layer.read, *layer.kept)} <= own:
            continue
        if all(held[id(p)] == 1 for p in module.parameters(recurse=False)):
            found[name] = layer
    return found


def resize(module: nn.Module) -> None:
    """Make a layer's numbers of channels say what the shapes of its tensors are."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _NORMS):
        sized = module.running_mean if module.weight is None else module.weight
        assert sized is not None
        module.num_features = len(sized)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
    elif isinstance(module, _ConvNd):
        first, second = module.weight.shape[:2]
        if module.groups != 1:
            second = module.groups = first
        turned = type(module) in _TRANSPOSED
        module.out_channels, module.in_channels = (second, first) if turned else (first, second)


def _layer(name: str, module: nn.Module) -> Layer | None:
    kind = type(module)  # exactly: a subclass may do anything
    if isinstance(module, nn.Linear) and kind is nn.Linear:
        made = _axes(module, ("weight", 0), ("bias", 0))
        return Layer(name, -1, made, _axes(module, ("weight", 1)), channels=module.out_features)
    if isinstance(module, _ConvNd) and (kind in _CONVOLUTIONS or kind in _TRANSPOSED):
        return _convolution(name, module, turned=kind in _TRANSPOSED)
    if kind in _NORMS:
        parts = ("weight", "bias", "running_mean", "running_var")
        kept = _axes(module, *((part, 0) for part in parts))
        return Layer(name, 1, kept=kept) if kept else None
    if isinstance(module, nn.PReLU) and kind is nn.PReLU and module.num_parameters > 1:
        return Layer(name, 1, kept=_axes(module, ("weight", 0)))
    return None


def _convolution(name: str, module: _ConvNd, *, turned: bool) -> Layer | None:
    """None for one with groups, unless each channel is a group of its own."""
    dim, outputs = 1 - module.weight.ndim, module.out_channels
    if module.groups == 1:
        made = _axes(module, ("weight", int(turned)), ("bias", 0))
        return Layer(name, dim, made, _axes(module, ("weight", 1 - turned)), channels=outputs)
    if module.groups == module.in_channels == outputs and not turned:
        return Layer(name, dim, kept=_axes(module, ("weight", 0), ("bias", 0)))
    return None


def _axes(module: nn.Module, *places: Axis) -> tuple[Axis, ...]:
    return tuple((part, axis) for part, axis in places if getattr(module, part) is not None)

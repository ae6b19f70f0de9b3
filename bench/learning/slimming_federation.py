"""Federated training in one process of a model that may become smaller; messages go through the codecs."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from bytes_training import Data, Point
from muster.algorithms.slimming.carrying import carry, layout_of
from muster.algorithms.slimming.magnitude import by_magnitude, highest
from muster.algorithms.slimming.shape import Shape, first, kept_of, whole
from muster.algorithms.slimming.structure import Structure
from muster.compression import parse
from muster.compression.model import encode_with_feedback, flatten
from muster.compression.tensors import Layout
from muster.learning import params
from muster.learning.slimming.smaller import resized
from slimming_nets import fresh, structure

Arrays = dict[str, NDArray[Any]]
JUDGED = 5_000  # of the test images
MEAN_OF = 5  # commits, whose mean is judged
MOMENTUM = 0.5


@dataclass(frozen=True)
class Way:
    """How a model of cnn6k is trained: `density` is of the whole model, a smaller one has as many elements a
    message. `prune` are (round, width) at which the commit leaves out channels."""

    width: float = 1.0
    density: float = 0.02  # 0: quant8
    prune: tuple[tuple[int, float], ...] = ()
    by: str = "magnitude"  # or "chance"
    lr: float = 0.1
    steps: int = 20
    batch: int = 16
    slice_of_last: float = 1.0  # the last node trains this fraction of the channels alone (HeteroFL)
    without_last: bool = False


def gradually(first_round: int, last: int, width: float, every: int = 3) -> tuple[tuple[int, float], ...]:
    rounds = range(first_round, last + 1, every)
    return tuple((r, 1 - (1 - width) * (i + 1) / len(rounds)) for i, r in enumerate(rounds))


@dataclass
class State:
    """What a job holds between rounds, all of one shape."""

    shape: Shape
    layout: Layout
    model: Arrays
    previous: Arrays
    up_left: list[Arrays]
    down_left: Arrays
    last: deque[Arrays] = field(default_factory=lambda: deque(maxlen=MEAN_OF))


def curve(data: Data, how: Way, rounds: int, seed: int) -> Iterator[Point]:
    """Train and yield one point a round."""
    for number, (spent, _, right) in enumerate(_rounds(data, how, rounds, seed)):
        yield Point(number + 1, spent, float(right.mean()))


def models(data: Data, how: Way, rounds: int, seed: int) -> Iterator[tuple[nn.Module, NDArray[np.bool_]]]:
    """The judged model of each round, and which test images it has right."""
    for _, model, right in _rounds(data, how, rounds, seed):
        yield model, right


def _rounds(
    data: Data, how: Way, rounds: int, seed: int
) -> Iterator[tuple[float, nn.Module, NDArray[np.bool_]]]:
    groups, net = structure("cnn6k"), fresh("cnn6k", seed)
    full = params.layout_of(net)
    state = _begin(groups, full, net, how.width, len(data.parts))
    rngs = [np.random.default_rng([seed, node]) for node in range(len(data.parts))]
    spent, wanted = 0.0, dict(how.prune)
    for number in range(1, rounds + 1):
        if number in wanted:
            state = pruned(state, groups, full, _chosen(state, groups, wanted[number], how.by, seed))
        spent += one_round(state, groups, net, data, how, rngs, [seed, number])
        mean = {n: np.mean([m[n] for m in state.last], axis=0).astype(np.float32) for n in state.model}
        model = resized(copy.deepcopy(net), mean)
        yield spent, model, hits(model, data)


def one_round(
    state: State, groups: Structure, net: nn.Module, data: Data, how: Way, rngs: list[Any], seed: list[int]
) -> float:
    """Bytes of payload, up and down, a node."""
    size = sum(s.size for s in state.layout.tensors)
    codec = parse(f"stc:{min(1.0, how.density * 5994 / size):.6f}" if how.density else "quant8")
    nodes = range(len(data.parts) - how.without_last)
    share = data.weights[list(nodes)] / data.weights[list(nodes)].sum()
    total = {s.name: np.zeros(s.shape) for s in state.layout.tensors}
    held = {s.name: np.zeros(s.shape) for s in state.layout.tensors}
    sent_bytes = 0
    for node in nodes:
        small, mask = state.shape, None
        if how.slice_of_last < 1 and node == len(data.parts) - 1:
            small = first(groups, how.slice_of_last)
            ones = {n: np.ones_like(a) for n, a in carry(state.model, groups, state.shape, small).items()}
            mask = carry(ones, groups, small, state.shape)
        start = carry(state.model, groups, state.shape, small)
        after = local(net, start, data, data.parts[node], how, rngs[node])
        change = carry(difference_of(start, after), groups, small, state.shape)
        left = _flat(state.layout, state.up_left[node])
        sent = encode_with_feedback(codec, state.layout, change, left, [*seed, node])
        state.up_left[node] = _tensors(state.layout, sent.residual)
        sent_bytes += len(sent.message)
        for name, array in sent.decoded.items():
            part = np.ones_like(array) if mask is None else mask[name]
            total[name] += share[node] * part * array
            held[name] += share[node] * part
    mean = {n: np.divide(total[n], held[n], out=np.zeros_like(total[n]), where=held[n] > 0) for n in total}
    momentum = MOMENTUM if how.density else 0.0
    change = {n: (mean[n] + momentum * (state.model[n] - state.previous[n])).astype(np.float32) for n in mean}
    back = encode_with_feedback(
        codec, state.layout, change, _flat(state.layout, state.down_left), [*seed, 9999]
    )
    state.down_left = _tensors(state.layout, back.residual)
    state.previous, state.model = state.model, {n: state.model[n] + back.decoded[n] for n in state.model}
    state.last.append(state.model)
    return sent_bytes / len(nodes) + len(back.message)


def pruned(state: State, groups: Structure, full: Layout, shape: Shape) -> State:
    """Everything follows by the same indices."""

    def moved(arrays: Arrays) -> Arrays:
        return carry(arrays, groups, state.shape, shape)

    return State(
        shape, layout_of(full, groups, shape), moved(state.model), moved(state.previous),
        [moved(left) for left in state.up_left], moved(state.down_left),
        deque(map(moved, state.last), maxlen=MEAN_OF),
    )  # fmt: skip


def local(net: nn.Module, start: Arrays, data: Data, part: torch.Tensor, how: Way, rng: Any) -> Arrays:
    """Steps of SGD from `start` on the node's part."""
    model = resized(copy.deepcopy(net), start)
    tensors = list(model.parameters())
    for _ in range(how.steps):
        chosen = part[torch.from_numpy(rng.integers(0, len(part), how.batch))]
        loss = functional.cross_entropy(model(data.x[chosen]), data.y[chosen])
        for tensor, slope in zip(tensors, torch.autograd.grad(loss, tensors), strict=True):
            tensor.data.add_(slope, alpha=-how.lr)
    return params.arrays_of(model, params.layout_of(model))


@torch.no_grad()
def hits(model: nn.Module, data: Data) -> NDArray[np.bool_]:
    """Which of the test images are right."""
    x, y = data.x_test[:JUDGED], data.y_test[:JUDGED]
    parts = zip(x.split(500), y.split(500), strict=True)
    return np.concatenate([(model(p).argmax(1) == q).numpy() for p, q in parts])


def difference_of(before: Arrays, after: Arrays) -> Arrays:
    return {n: after[n] - before[n] for n in before}


def _begin(groups: Structure, full: Layout, net: nn.Module, width: float, nodes: int) -> State:
    """As a fresh job at this width: the first channels, weights that read fewer made larger."""
    shape = first(groups, width)
    layout = layout_of(full, groups, shape)
    arrays = params.arrays_of(net, full)
    model = carry(arrays, groups, whole(groups), shape)
    for name, array in model.items():
        if array.ndim > 1:
            model[name] = array * np.float32((arrays[name].shape[1] / array.shape[1]) ** 0.5)
    zeros = {n: np.zeros_like(a) for n, a in model.items()}
    return State(shape, layout, model, model, [zeros for _ in range(nodes)], zeros)


def _chosen(state: State, groups: Structure, width: float, by: str, seed: int) -> Shape:
    if by == "magnitude":
        return by_magnitude(state.model, groups, width, state.shape)
    rng = np.random.default_rng(seed)
    drawn = tuple(rng.permutation(g.size).astype(np.int64) for g in groups.groups)
    return highest(drawn, state.shape, [kept_of(g.size, width) for g in groups.groups])


def _flat(layout: Layout, arrays: Arrays) -> NDArray[np.float32]:
    return flatten(layout.changes, arrays)


def _tensors(layout: Layout, vector: NDArray[np.float32]) -> Arrays:
    found, at = {}, 0
    for spec in layout.tensors:
        found[spec.name] = vector[at : at + spec.size].reshape(spec.shape)
        at += spec.size
    return found

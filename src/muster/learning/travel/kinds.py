"""Which of a model's tensors travel between the nodes, and which stay as the task makes them.

| kind | what it is | where it is |
|---|---|---|
| trained | parameters that require a gradient | in the layout: it travels through a codec |
| averaged | floating buffers that change in training | in the layout: it travels as values, and is averaged |
| counted | other buffers that change in training | in the layout: it travels as whole steps |
| frozen | parameters without a gradient, and buffers of modules with no others | hashed in the fingerprint |
| constant | other buffers, which no step changed | hashed in the fingerprint, but for their last bits |
| local | what the task names in `local`, and state that is no tensor | on this node alone |

Which buffers change is found by trying (`changed_by`), never by a name.  Two tensors on one storage are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import is_lazy

from muster.compression.tensors import Layout, TensorSpec
from muster.learning.conversion import array_of
from muster.learning.faults import TaskFault
from muster.learning.travel.hashes import checksum, fixed_hash, same

TRAINED, AVERAGED, COUNTED = "trained", "averaged", "counted"  # these travel
FROZEN, CONSTANT, LOCAL = "frozen", "constant", "local"
EXTRA = "_extra_state"  # the last part of the name that torch gives to a module's own state


@dataclass(frozen=True)
class Tensor:
    """One entry of a state_dict. `tied_to`: an earlier one on the same storage, whose kind it has.

    `checksum`: of what neither travels nor is local, so that a change of it is noticed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int
    kind: str
    tied_to: str = ""
    checksum: int = 0

    @property
    def travels(self) -> bool:
        return self.kind in (TRAINED, AVERAGED, COUNTED)


@dataclass(frozen=True)
class Travelling:
    """The kinds of a model's tensors in the order of its state_dict, and the layout of those that travel.

    `start` has those buffers' first values that a fresh model does not have: an observer's range, which is
    infinite until something was seen.
    """

    tensors: tuple[Tensor, ...]
    layout: Layout
    fixed: Mapping[str, bytes]  # hashes of what is frozen or constant, by name
    start: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[str]:
        """The names of the tensors of these kinds, tied ones under their first."""
        return [t.name for t in self.tensors if t.kind in kinds and not t.tied_to]

    def strayed(self, model: nn.Module) -> str | None:
        """The name of a tensor that is not as it was although it is frozen or constant, if there is one."""
        state = model.state_dict(keep_vars=True)
        for tensor in self.tensors:
            if tensor.kind in (FROZEN, CONSTANT) and not tensor.tied_to:
                now = state.get(tensor.name)
                if now is None or checksum(now) != tensor.checksum:
                    return tensor.name
        return None


def changed_by(work: Callable[[], None], model: nn.Module) -> dict[str, torch.Tensor]:
    """The buffers of `model` that `work`, such as a step of training, changes: their values after it."""
    before = {name: tensor.detach().clone() for name, tensor in buffers(model).items()}
    work()
    after = buffers(model)
    gone = sorted(before.keys() ^ after.keys())
    if gone:
        raise TaskFault(f"the buffer {gone[0]} comes or goes in training: register it in model()")
    return {name: tensor.detach().clone() for name, tensor in after.items() if not same(before[name], tensor)}


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """What the state_dict has beside the parameters, by name."""
    parameters = {id(p) for p in model.parameters()}
    state = model.state_dict(keep_vars=True)
    return {n: t for n, t in state.items() if isinstance(t, torch.Tensor) and id(t) not in parameters}


def decide(model: nn.Module, changed: Mapping[str, torch.Tensor], local: Sequence[str] = ()) -> Travelling:
    """The kinds of a fresh model's tensors. `changed`: buffers that training changes (`changed_by`).

    Raises TensorError where a dtype that travels is none that muster carries, TaskFault.
    """
    state = model.state_dict(keep_vars=True)
    _check(state, local)
    kinds = _kinds(model, state, changed, local)
    first: dict[Any, str] = {}
    tensors: list[Tensor] = []
    specs: list[TensorSpec] = []
    aliases: list[tuple[str, str]] = []
    fixed: dict[str, bytes] = {}
    start: dict[str, NDArray[Any]] = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            tensors.append(Tensor(name, (), type(tensor).__name__, 0, LOCAL))
            continue
        kind, whole = kinds[name], changed.get(name, tensor)
        shape, dtype = tuple(whole.shape), str(whole.dtype).removeprefix("torch.")
        size = whole.numel() * whole.element_size()
        earlier = first.setdefault(_place(tensor), name)
        if earlier != name:
            tensors.append(Tensor(name, shape, dtype, size, kind, earlier))
            if tensors[-1].travels:
                aliases.append((name, earlier))
            continue
        fixed_here = kind in (FROZEN, CONSTANT)
        tensors.append(Tensor(name, shape, dtype, size, kind, "", checksum(tensor) if fixed_here else 0))
        if tensors[-1].travels:
            specs.append(TensorSpec(name, shape, dtype, kind == TRAINED))
            if kind != TRAINED and (shape != tuple(tensor.shape) or not _finite(tensor)):
                start[name] = array_of(whole)
        elif fixed_here:
            fixed[name] = fixed_hash(name, tensor, exact=kind == FROZEN)
    return Travelling(tuple(tensors), Layout(tuple(specs), tuple(aliases)), fixed, start)


def kept_here(model: nn.Module, travelling: Travelling) -> dict[str, NDArray[Any]]:
    """The tensors of `model` that do not travel, by name."""
    state = model.state_dict()
    names = [t.name for t in travelling.tensors if not t.travels]
    return {name: array_of(state[name]) for name in names if isinstance(state[name], torch.Tensor)}


def retie(model: nn.Module, travelling: Travelling) -> None:
    """Put tensors on one storage again that were copied apart."""
    state = model.state_dict(keep_vars=True)
    for tensor in travelling.tensors:
        if tensor.tied_to and state[tensor.name] is not state[tensor.tied_to]:
            state[tensor.name].data = state[tensor.tied_to].data


def frozen_modules(model: nn.Module) -> list[str]:
    """The names of the modules that have parameters and none to train, and of all that is in them."""
    found: list[str] = []
    for name, module in model.named_modules():
        own = list(module.parameters())
        within = any(name.startswith(outer + ".") for outer in found)
        if within or (name and own and not any(p.requires_grad for p in own)):
            found.append(name)
    return found


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the globs fits a tensor's name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _kinds(
    model: nn.Module,
    state: Mapping[str, Any],
    changed: Mapping[str, torch.Tensor],
    local: Sequence[str],
) -> dict[str, str]:
    """By name; tensors on one storage have one kind: local before trained, trained before any other."""
    trained = {id(p): p.requires_grad for p in model.parameters()}
    frozen = frozen_modules(model)
    together: dict[Any, list[str]] = {}
    kinds: dict[str, str] = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        together.setdefault(_place(tensor), []).append(name)
        if matches(name, local) or name.rpartition(".")[2] == EXTRA:
            kinds[name] = LOCAL
        elif id(tensor) in trained:
            kinds[name] = TRAINED if trained[id(tensor)] else FROZEN
        elif any(name.startswith(module + ".") for module in frozen):
            kinds[name] = FROZEN
        elif name in changed:
            kinds[name] = AVERAGED if tensor.is_floating_point() else COUNTED
        else:
            kinds[name] = CONSTANT
    for names in together.values():
        group = [kinds[name] for name in names]
        one = next((kind for kind in (LOCAL, TRAINED) if kind in group), group[0])
        kinds.update(dict.fromkeys(names, one))
    return kinds


def _check(state: Mapping[str, Any], local: Sequence[str]) -> None:
    for name, tensor in state.items():
        if is_lazy(tensor):
            raise TaskFault(f"the lazy tensor {name} has no shape yet: a forward of two samples left it out")
    if isinstance(local, str):
        raise TaskFault(f"local must be a list of patterns, such as local = [{local!r}]")
    for pattern in local:
        if not any(fnmatchcase(name, pattern) for name in state):
            raise TaskFault(f"local names {pattern!r}, but no tensor of the model has such a name")


def _place(tensor: torch.Tensor) -> Any:
    """The same for tensors that are one: the same object, or the same elements of one storage."""
    if tensor.layout != torch.strided or tensor.numel() == 0:
        return id(tensor)
    return tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())

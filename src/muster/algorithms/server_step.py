"""The server's step: a round's weighted sum of updates becomes the next model.

The server treats the sum as a pseudo-gradient and takes one step with heavy-ball momentum (FedAvgM: Hsu, Qi,
Brown, 2019, arXiv 1909.06335; Reddi et al., "Adaptive Federated Optimization", ICLR 2021, arXiv 2003.00295):

    next = base + server_lr * sum_i w_i update_i + server_momentum * (base - previous)

The momentum's only state is the parameters of base's parent, which a job's history holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from muster.algorithms.aggregation import Accumulator
from muster.algorithms.precision import add_whole_steps, from_fp64, to_fp64
from muster.compression.tensors import check

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ServerState:
    """`previous`: the parameters before the base, by tensor name; None leaves the momentum out."""

    previous: Arrays | None = None


def init(previous: Arrays | None = None) -> ServerState:
    """The state before a step on a model whose parent has the parameters `previous`.

    A job's first model and a merge have no `previous`.
    """
    return ServerState(previous)


def apply(
    state: ServerState,
    base: Arrays,
    total: Accumulator,
    server_lr: float = 1.0,
    *,
    server_momentum: float = 0.0,
) -> tuple[dict[str, NDArray[Any]], ServerState]:
    """The next parameters, rounded to the layout's dtypes, and the state for the step after this one.

    A statistic becomes the weighted mean of the values of those that changed it, without rate or momentum,
    whatever they began from.  Counters move by the weighted mean, likewise.  Integers and truth values move
    by the mean change, rounded to a whole step, and stay in their range (int64 wraps around): one update
    alone arrives exactly (int64: a change of at most 2**53, whatever the base is).

    Raises TensorError when base or result is invalid.
    """
    layout = total.layout
    check(layout, base)
    out: dict[str, NDArray[Any]] = {}
    for spec in layout.tensors:
        change = total.sums[spec.name]
        if not spec.floating:
            out[spec.name] = add_whole_steps(spec, base[spec.name], change / (total.weight or 1.0))
            continue
        if spec.averaged:
            changed_by = total.changed_by.get(spec.name, 0.0)
            out[spec.name] = from_fp64(spec, change / changed_by) if changed_by else base[spec.name]
            continue
        value = to_fp64(base[spec.name])
        moved = value + server_lr * change
        if state.previous is not None and server_momentum:
            moved = moved + server_momentum * (value - to_fp64(state.previous[spec.name]))
        out[spec.name] = from_fp64(spec, moved)
    check(layout, out)
    return out, ServerState(base)

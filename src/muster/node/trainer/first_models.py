"""First models: fresh, from a file, or from a wider model; and what a task does not train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from muster.algorithms.slimming import carrying
from muster.algorithms.slimming.magnitude import fitting
from muster.algorithms.slimming.structure import StructureError
from muster.compression import tensors
from muster.compression.tensors import Array
from muster.errors import MusterError
from muster.learning import local_state, params
from muster.learning.conversion import array_of, tensor_of
from muster.learning.params import start_model
from muster.learning.travel import fixed, start_file
from muster.node.trainer.open_task import OpenTask
from muster.node.trainer.session_parts import OnStep, fault_of_training

Arrays: TypeAlias = dict[str, Array]


def frozen(opened: OpenTask, on_step: OnStep, out: str | None) -> dict[str, Any]:
    """The hash and size of what is frozen or constant; written to `out`, if that is given."""
    if out is not None:
        with fault_of_training():
            fixed.write(opened.pristine, opened.travelling, Path(out))
    blob, size_bytes = fixed.blob_of(opened.pristine, opened.travelling)
    return {"blob": blob, "size_bytes": size_bytes}


def initial(
    opened: OpenTask,
    on_step: OnStep,
    seed: int,
    source: str | None,
    out: str,
    fresh: Sequence[str] = (),
    own_out: str | None = None,
) -> dict[str, Any]:
    """Starting parameters, fresh from the seed or from a file, but for what a pattern of `fresh` fits.

    What the file has of this node's own tensors goes to `own_out`.
    """
    if source is None:
        arrays, said = _fresh(opened, seed), ""
    else:
        start = _from_file(opened, seed, Path(source), fresh)
        arrays, said = start.arrays, start.said
        if own_out is not None:
            mine = {name: tensor_of(array) for name, array in start.own.items()}
            local_state.save(Path(own_out), {"tensors": mine})
    return {"size_bytes": tensors.write(opened.layout, Path(out), arrays, synced=True), "said": said}


def narrow(
    opened: OpenTask, on_step: OnStep, base: str, width: float, out: str, was: bytes = b""
) -> dict[str, Any]:
    """The parameters of the task at another `width` without the channels of the smallest magnitude.

    `was`: the shape that they have already, as in a commit.
    """
    source = opened.at_width(width)
    if was:
        source = source.of_shape(was)
    arrays = _narrowed(source, opened, tensors.read(source.layout, Path(base)))
    return {"size_bytes": tensors.write(opened.layout, Path(out), arrays, synced=True)}


def _fresh(opened: OpenTask, seed: int) -> Arrays:
    model = start_model(opened.task, seed, opened.layout, opened.forward)
    return params.arrays_of(model, opened.layout) | dict(opened.travelling.start)


def _from_file(opened: OpenTask, seed: int, path: Path, fresh: Sequence[str]) -> start_file.Start:
    """The parameters in a file of this model, or of the whole one."""
    if opened.whole is not None:
        try:
            start = _from_file(opened.whole, seed, path, fresh)
            return replace(start, arrays=_narrowed(opened.whole, opened, start.arrays))
        except MusterError as error:
            unfit = error
    others = [t.name for t in opened.travelling.tensors if not t.travels]
    own = {n: array_of(tensor) for n, tensor in opened.own_tensors(opened.pristine).items()}
    try:
        return start_file.begin(
            path, opened.layout, _fresh(opened, seed) if fresh else {}, others, fresh, own
        )
    except MusterError as error:
        raise (error if opened.whole is None else unfit) from None


def _narrowed(source: OpenTask, opened: OpenTask, arrays: Mapping[str, Array]) -> Arrays:
    structure = source.structure()
    try:
        shape = fitting(arrays, structure, source.layout, opened.layout)
    except StructureError as error:
        raise MusterError(
            "usage",
            f"the task {opened.task.name!r} at width {opened.width:g} cannot begin from its model at width "
            f"{source.width:g}: {error}",
        ) from error
    return carrying.narrow(arrays, structure, shape)

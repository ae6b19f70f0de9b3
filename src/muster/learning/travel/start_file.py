"""Starting parameters from a file, wholly or in part; torch is imported for torch's own files only."""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from muster.compression import safetensors_file
from muster.compression.tensors import FLOATS, Layout, TensorError, TensorSpec, check
from muster.errors import MusterError

Arrays = dict[str, NDArray[Any]]
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
WITHIN = ("state_dict", "model_state_dict", "model")  # where checkpoints have the parameters
PREFIXES = ("module.", "model.")  # that wrappers put before every name
NAMES_SHOWN = 4


@dataclass(frozen=True)
class Start:
    """Starting parameters, and a sentence on where they come from. `own`: of those that stay on this node,
    what the file has."""

    arrays: Arrays
    said: str
    own: Arrays = field(default_factory=dict)


def begin(
    path: Path,
    layout: Layout,
    new: Mapping[str, NDArray[Any]],
    others: Iterable[str] = (),
    fresh: Sequence[str] = (),
    own: Mapping[str, NDArray[Any]] | None = None,
) -> Start:
    """The parameters in a file; those that match a pattern of `fresh` are those of `new`, a fresh model.

    A tensor that the file lacks, that does not fit or that the model has not must match one, too.  `others`:
    names of the model's tensors that do not travel; the task has them.  `own`: of these, what stays on this
    node, as the task makes it; the file need not have it.  Raises MusterError("bad_data").
    """
    found = _unwrapped(read(path), layout)
    known = {*layout.by_name, *(alias for alias, _ in layout.aliases), *others}
    names = known | found.keys()
    for pattern in fresh:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, sorted(names), 1, 0.4)
            hint = f", such as {near[0]!r}" if near else ""
            raise MusterError("bad_data", f"--fresh {pattern!r} fits no tensor: use the model's names{hint}")
    odd = sorted(name for name in found.keys() - known if not _matches(name, fresh))
    if odd:
        raise MusterError(
            "bad_data",
            f"{path} is of another model: it holds the tensor {odd[0]!r}{_more(odd)}; --fresh leaves it out",
        )
    arrays: Arrays = {}
    made: list[str] = []
    for spec in layout.tensors:
        also = [alias for alias, name in layout.aliases if name == spec.name]
        given = next((found[name] for name in (spec.name, *also) if name in found), None)
        if _matches(spec.name, fresh):
            arrays[spec.name] = new[spec.name]
            made.append(spec.name)
        elif given is None:
            raise MusterError(
                "bad_data",
                f"{path} has no tensor {spec.name!r}: give --fresh {spec.name!r} for a new one",
            )
        else:
            arrays[spec.name] = _fitting(path, spec, given)
    try:
        check(layout, arrays)
    except TensorError as error:
        raise MusterError("bad_data", f"{path} does not fit the task's model: {error}") from None
    mine = {
        name: _fitting(path, TensorSpec(name, array.shape, array.dtype.name), found[name])
        for name, array in (own or {}).items()
        if name in found and not _matches(name, fresh)
    }
    kept = len(found.keys() & set(others) - layout.by_name.keys() - mine.keys())
    return Start(arrays, _said(path, len(arrays) - len(made), made, len(mine), kept), mine)


def read(path: Path) -> Arrays:
    """The tensors of a safetensors file, or of one that torch.save wrote. Raises MusterError("bad_data")."""
    return _of_torch(path) if path.suffix in TORCH_SUFFIXES else safetensors_file.read(path)


def _of_torch(path: Path) -> Arrays:
    import torch

    from muster.learning.conversion import array_of

    if not path.is_file():
        raise MusterError("bad_data", f"there is no file {path}: give a safetensors file or a .pt file")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise MusterError(
            "bad_data", f"{path} holds more than weights, which is not run: save model.state_dict() alone"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        text = " ".join(str(error).split())[:200]
        raise MusterError("bad_data", f"{path} is no file that torch.save wrote: {text}") from None
    inner = next((found[key] for key in WITHIN if isinstance(found, dict) and key in found), found)
    state = inner if isinstance(inner, Mapping) else found
    if not isinstance(state, Mapping) or not any(isinstance(t, torch.Tensor) for t in state.values()):
        raise MusterError("bad_data", f"{path} holds no named tensors: save model.state_dict()")
    return {str(name): array_of(t) for name, t in state.items() if isinstance(t, torch.Tensor)}


def _unwrapped(found: Arrays, layout: Layout) -> Arrays:
    """Without the prefix that DataParallel, or a module around the model, put before each name."""
    for prefix in PREFIXES:
        if found and all(name.startswith(prefix) for name in found):
            bare = {name.removeprefix(prefix): array for name, array in found.items()}
            if bare.keys() & layout.by_name.keys() and not found.keys() & layout.by_name.keys():
                return bare
    return found


def _fitting(path: Path, spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    """`array` in the tensor's type, if both are floating."""
    if array.shape != spec.shape:
        raise MusterError(
            "bad_data",
            f"{path} does not fit the task's model: tensor {spec.name!r} has shape {array.shape} there "
            f"and {spec.shape} here; give --fresh {spec.name!r} to begin with a new one",
        )
    return array.astype(spec.numpy_dtype) if spec.floating and array.dtype.name in FLOATS else array


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _said(path: Path, taken: int, made: Sequence[str], own: int, kept: int) -> str:
    parts = [f"{taken} {'tensor' if taken == 1 else 'tensors'} taken"]
    if made:
        shown = ", ".join(made[:NAMES_SHOWN]) + (", ..." if len(made) > NAMES_SHOWN else "")
        parts.append(f"{len(made)} fresh ({shown})")
    if own:
        parts.append(f"{own} of this node's own")
    if kept:
        parts.append(f"{kept} that do not travel as the task makes them")
    return f"starts from {path.name}: {', '.join(parts)}"

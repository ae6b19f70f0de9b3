"""What of a model is frozen or constant, as bytes: for a node whose own is another.

The file is a dense blob (`compression.tensors`) of each tensor's raw bytes, so that any type and any value,
such as a mask of -inf, comes through to the bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from muster.compression import tensors
from muster.compression.tensors import Array, Layout, TensorError, TensorSpec
from muster.learning.travel.hashes import checksum, fixed_hash, raw
from muster.learning.travel.kinds import CONSTANT, FROZEN, Tensor, Travelling


def blob_of(model: nn.Module, travelling: Travelling) -> tuple[bytes, int]:
    """The SHA-256 and the size of the file that `write` makes; (b"", 0) where nothing is frozen."""
    layout = _layout(travelling)
    if not layout.tensors:
        return b"", 0
    digest = hashlib.sha256()
    for piece in tensors.chunks(layout, _arrays(model, layout)):
        digest.update(piece)
    return digest.digest(), layout.blob_bytes


def write(model: nn.Module, travelling: Travelling, path: Path) -> None:
    """Write what is frozen or constant in `model`. Raises OSError."""
    layout = _layout(travelling)
    tensors.write(layout, path, _arrays(model, layout), synced=True)


def load_into(model: nn.Module, travelling: Travelling, path: Path) -> Travelling:
    """Set what is frozen or constant in `model` from a file, and say what it is from now on.

    Raises TensorError for a file of another model, OSError.
    """
    layout = _layout(travelling)
    found = tensors.read(layout, path)
    state = model.state_dict(keep_vars=True)
    fixed: dict[str, bytes] = {}
    entries: list[Tensor] = []
    for entry in travelling.tensors:
        if entry.name in layout.by_name:
            own = state[entry.name]
            with torch.no_grad():
                own.copy_(_tensor(found[entry.name], own))
            entry = replace(entry, checksum=checksum(own))
            fixed[entry.name] = fixed_hash(entry.name, own, exact=entry.kind == FROZEN)
        entries.append(entry)
    return replace(travelling, tensors=tuple(entries), fixed=fixed)


def _layout(travelling: Travelling) -> Layout:
    fixed = (t for t in travelling.tensors if t.kind in (FROZEN, CONSTANT) and not t.tied_to)
    return Layout(tuple(TensorSpec(t.name, (t.size_bytes,), "uint8", learnt=False) for t in fixed))


def _arrays(model: nn.Module, layout: Layout) -> dict[str, Array]:
    state = model.state_dict(keep_vars=True)
    return {spec.name: raw(state[spec.name]).numpy() for spec in layout.tensors}


def _tensor(content: Array, like: torch.Tensor) -> torch.Tensor:
    flat = torch.from_numpy(content.copy())
    if flat.numel() != like.numel() * like.element_size():
        raise TensorError("what is frozen has another size than in the model here")
    return flat.view(like.dtype).reshape(like.shape)

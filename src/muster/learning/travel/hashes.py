"""Whether tensors are the same: to the bit on one node, or nearly so on nodes with other processors."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import torch
from numpy.typing import NDArray


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are equal to the bit."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(torch.equal(raw(a), raw(b)))


def checksum(tensor: torch.Tensor) -> int:
    """CRC-32 of the raw elements."""
    return zlib.crc32(raw(tensor).numpy().data)


def fixed_hash(name: str, tensor: torch.Tensor, *, exact: bool) -> bytes:
    """Eight bytes that stand for a tensor that does not travel.

    Not `exact`: the same for floats that differ in their last bits, as sines of two kinds of processor do.
    """
    head = f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode()
    whole = not exact and tensor.is_floating_point()
    content = _rough(tensor.detach().double().cpu().numpy()) if whole else raw(tensor).numpy().data
    return hashlib.sha256(head + bytes(content)).digest()[:8]


def _rough(values: NDArray[np.float64]) -> bytes:
    """What is not finite, the size of the rest, and on which side it lies of eight random planes."""
    flat = values.reshape(-1)
    finite = np.isfinite(flat)
    rest = np.where(finite, flat, 0.0)
    size = float(np.sqrt(rest @ rest))
    found = [np.floor(8 * np.log2(size) + 0.317) if size else -np.inf]
    for plane in range(8 if size else 0):
        signs = np.random.default_rng(plane).integers(0, 2, flat.size, np.int8) * 2 - 1
        found.append(np.floor(2 * float(rest @ signs.astype(np.float64)) / size + 0.317))
    infinite = np.sign(flat[np.isinf(flat)])
    return b"".join((np.packbits(finite).tobytes(), infinite.tobytes(), repr(found).encode()))


def raw(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of the elements, in C order, on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)

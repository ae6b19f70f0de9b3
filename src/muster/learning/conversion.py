"""Between torch's tensors and numpy's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muster.compression.tensors import numpy_dtype


def array_of(tensor: torch.Tensor) -> NDArray[Any]:
    """A copy of a tensor, wherever it is."""
    here = tensor.detach().cpu().contiguous()
    if here.dtype == torch.bfloat16:  # numpy knows it from ml_dtypes
        return here.view(torch.int16).numpy().copy().view(numpy_dtype("bfloat16"))
    return here.numpy().copy()


def tensor_of(array: NDArray[Any]) -> torch.Tensor:
    """A tensor with a copy of an array."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))

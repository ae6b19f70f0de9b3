"""Small random changes of images for `Task.augment`: each is turned, scaled and moved a little."""

from __future__ import annotations

import math

import torch
from torch.nn import functional


def jittered(
    images: torch.Tensor, *, degrees: float = 10.0, scale: float = 0.1, shift_px: float = 2.0
) -> torch.Tensor:
    """`images` (n, channels, height, width), each turned by at most `degrees`, scaled by 1 - `scale` to
    1 + `scale` and moved by at most `shift_px` pixels across and down.

    What comes in from outside is the image's own lowest value, its background.
    """
    count, _, height, width = images.shape
    turn, size, across, down = (torch.rand(4, count) * 2 - 1).to(images)
    angle, size = turn * math.radians(degrees), 1 / (1 + size * scale)
    cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
    ratio = height / width  # the grid counts each axis from -1 to 1
    rows = [
        torch.stack([cos, -sin * ratio, across * shift_px * 2 / width], 1),
        torch.stack([sin / ratio, cos, down * shift_px * 2 / height], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    lowest = images.amin(dim=(2, 3), keepdim=True)
    return functional.grid_sample(images - lowest, grid, align_corners=False) + lowest

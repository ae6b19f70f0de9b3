"""What the nodes of the story see: pictures, upright and turned, and whose labels are given when.

All of it follows from the seed.  A picture whose label is trained on comes up nowhere else; the pictures that
the figures at the end are of are in no stream.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.errors import MusterError

ANGLE = 60.0  # degrees by which cameras are turned
CLASSES = 10
# Each has some that a model of upright digits is not sure of: of turned fours and sixes alone it is, wrongly.
SEEN = ((0, 1, 2, 3), (3, 4, 5, 7), (6, 7, 8, 9), (0, 1, 2, 9))
LABELS = 50  # that a camera's owner gives when asked
CHECKS_MAX = 300  # pictures whose labels tell later how good a model is
POOL_MAX = 4000  # pictures that streams are made of
TESTS_MAX = 2000


@dataclass(frozen=True)
class World:
    """Pictures of uint8, (n, height, width), the same upright and turned; `learn` and `check` are places of
    them by camera, in the order in which they are labelled; `stream`: of the others."""

    upright: NDArray[np.uint8]
    turned: NDArray[np.uint8]
    labels: NDArray[np.int64]
    stream: NDArray[np.int64]
    learn: Mapping[str, NDArray[np.int64]]
    check: Mapping[str, NDArray[np.int64]]
    test_upright: NDArray[np.uint8]
    test_turned: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    def pictures(self, turned: bool) -> NDArray[np.uint8]:
        return self.turned if turned else self.upright

    def seen(self, digits: Sequence[int]) -> NDArray[np.int64]:
        """The stream's pictures of these digits."""
        return self.stream[np.isin(self.labels[self.stream], list(digits))]


def digits_of(number: int) -> tuple[int, ...]:
    """The digits that the camera `number` sees: four cameras see all ten."""
    return SEEN[number % len(SEEN)]


def made(
    pictures: NDArray[np.uint8],
    labels: NDArray[np.int64],
    test: NDArray[np.uint8],
    test_labels: NDArray[np.int64],
    cameras: Sequence[str],
    seed: int,
) -> World:
    """The world of a seed, from pictures that no model was trained on."""
    random = np.random.default_rng((seed, 20))
    order = random.permutation(len(labels))[:POOL_MAX]
    pictures, labels = pictures[order], labels[order]
    free = np.ones(len(labels), bool)
    learn: dict[str, NDArray[np.int64]] = {}
    for number, camera in enumerate(cameras):
        learn[camera] = _in_turns(labels, free, digits_of(number), LABELS)
        free[learn[camera]] = False
    check = {
        camera: _in_turns(labels, free, digits_of(number), CHECKS_MAX)
        for number, camera in enumerate(cameras)
    }
    test, test_labels = test[:TESTS_MAX], test_labels[:TESTS_MAX]
    return World(
        pictures, turned(pictures, ANGLE), labels, np.flatnonzero(free), learn, check,
        test, turned(test, ANGLE), test_labels,
    )  # fmt: skip


def _in_turns(
    labels: NDArray[np.int64], free: NDArray[np.bool_], digits: Sequence[int], count: int
) -> NDArray[np.int64]:
    """Up to `count` free places, one digit after the other."""
    by_digit = [np.flatnonzero(free & (labels == digit)) for digit in digits]
    rounds = range(max(len(places) for places in by_digit))
    found = [int(places[k]) for k in rounds for places in by_digit if k < len(places)]
    return np.array(found[:count], np.int64)


def turned(pictures: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Pictures (n, height, width) turned about their middle, bilinear, with black around them."""
    count, height, width = pictures.shape
    radians = math.radians(degrees)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    from_x = math.cos(radians) * x - math.sin(radians) * y + (width - 1) / 2
    from_y = math.sin(radians) * x + math.cos(radians) * y + (height - 1) / 2
    left, top = np.floor(from_x).astype(int), np.floor(from_y).astype(int)
    part_x, part_y = from_x - left, from_y - top
    framed = np.zeros((count, height + 2, width + 2), np.float32)
    framed[:, 1:-1, 1:-1] = pictures
    total = np.zeros(pictures.shape, np.float32)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row = np.clip(top + down + 1, 0, height + 1)
        column = np.clip(left + right + 1, 0, width + 1)
        weight = (part_y if down else 1 - part_y) * (part_x if right else 1 - part_x)
        total += framed[:, row, column] * weight
    return np.rint(total).astype(np.uint8)


def save(world: World, path: Path) -> None:
    """One file, for the processes of the story."""
    parts = {name: getattr(world, name) for name in World.__dataclass_fields__ if name not in _BY_CAMERA}
    for name in _BY_CAMERA:
        parts |= {f"{name}.{camera}": rows for camera, rows in getattr(world, name).items()}
    np.savez(path, **parts)


def load(path: Path) -> World:
    """What `save` wrote. Raises MusterError bad_data."""
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise MusterError("bad_data", f"{path} cannot be read: {error}") from error
    by_camera = {
        name: {key.partition(".")[2]: part for key, part in parts.items() if key.startswith(f"{name}.")}
        for name in _BY_CAMERA
    }
    plain: dict[str, Any] = {name: part for name, part in parts.items() if "." not in name}
    return World(**plain, learn=by_camera["learn"], check=by_camera["check"])


_BY_CAMERA = ("learn", "check")

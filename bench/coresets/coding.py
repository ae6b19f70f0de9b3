"""Bytes of coresets against packed bits, zlib, zstd and lossless WebP, and the processor time of coding them.

    python bench/coresets/coding.py [--mnist mnist.npz] [--json FILE]

Images: random ones of MNIST, three seeds, with labels and weights.  Tables: random rows of four
data sets, and the centres that `robust` makes of them.  Photos: cuts of 32 x 32 from scikit-learn's two, as
WebP one by one (without its headers) and as Muster codes them.  WebP needs Pillow; without it, "-".
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray
from sklearn import datasets

from muster.coresets.coding import decode, encode
from muster.coresets.coreset import Coreset, Space
from muster.coresets.kinds.make import make
from muster.coresets.spaces import default_space

MNIST = Path(os.environ.get("MUSTER_MNIST") or Path(__file__).parents[3] / "shared" / "data" / "mnist.npz")
BITS = (1, 2, 3, 4, 6, 8)
SEEDS = 3
RIFF_BYTES = 20
Levels = NDArray[np.uint8]

try:
    from PIL import Image
except ImportError:
    Image = None


def packed(levels: Levels, bits: int) -> bytes:
    planes = (levels.reshape(-1, 1) >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(planes).tobytes()


def others(levels: Levels, bits: int) -> dict[str, int | None]:
    """Bytes of the levels alone; of zlib and zstd those of the better one of packed bits and whole bytes."""
    forms = packed(levels, bits), levels.tobytes()
    return {
        "packed": len(forms[0]),
        "zlib": min(len(zlib.compress(form, 9)) for form in forms),
        "zstd": min(len(zstandard.compress(form, 22)) for form in forms),
        "webp": lossless(levels, bits),
    }


def lossless(levels: Levels, bits: int) -> int | None:
    """Grey images below each other in one lossless WebP picture."""
    if Image is None or levels.ndim != 4 or levels.shape[1] != 1 or len(levels) * levels.shape[2] > 16383:
        return None
    column = levels.reshape(-1, levels.shape[-1]).astype(np.uint16) * 255 // ((1 << bits) - 1)
    return webp(column.astype(np.uint8), lossless=True, quality=100)[0]


def webp(picture: Levels, **options: Any) -> tuple[int, Levels]:
    """Bytes, and what is seen."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", method=6, **options)
    return len(file.getvalue()), np.asarray(Image.open(file))


def seconds(work: Callable[[], Any], runs: int = 3) -> float:
    """Of a processor, median."""
    spent = []
    for _ in range(runs):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return median(spent)


def coded(coreset: Coreset) -> dict[str, float]:
    """Bytes, and times to encode and decode."""
    data = encode(coreset)
    back = decode(data, coreset.space, samples_max=len(coreset))
    assert len(back) == len(coreset)
    return {
        "muster": len(data),
        "encode_s": seconds(lambda: encode(coreset)),
        "decode_s": seconds(lambda: decode(data, coreset.space, samples_max=len(coreset))),
    }


def images(file: Path, count: int) -> list[dict[str, Any]]:
    with np.load(file) as arrays:
        pixels, labels = arrays["x_train"], arrays["y_train"].astype(np.int64)
    space = Space("image", (1, 28, 28), np.zeros(1, np.float32), np.ones(1, np.float32), 10)
    rows = []
    for bits in BITS:
        runs = []
        for seed in range(SEEDS if count <= 100 else 1):
            chosen = np.sort(np.random.default_rng(seed).choice(len(pixels), count, replace=False))
            levels = np.rint(pixels[chosen, None] / 255 * ((1 << bits) - 1)).astype(np.uint8)
            weights = np.full(count, 60_000 / count, np.float32)
            coreset = Coreset(space, "samples", bits, levels, labels[chosen], weights)
            runs.append(others(levels, bits) | coded(coreset))
        rows.append({"set": "MNIST", "count": count, "bits": bits} | averaged(runs))
    return rows


def averaged(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: None if runs[0][name] is None else mean(run[name] for run in runs) for name in runs[0]}


def tables(count: int, bits: int) -> list[dict[str, Any]]:
    rows = []
    for name in ("iris", "wine", "breast_cancer", "digits"):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        x = x.astype(np.float32)
        space = default_space(x, y)
        for kind in ("samples", "robust"):
            runs = []
            for seed in range(SEEDS):
                coreset = make(kind, x, y, count, space, bits, np.random.default_rng(seed))
                runs.append(others(coreset.levels, bits) | coded(coreset))
            rows.append({"set": f"{name}, {kind}", "count": count, "bits": bits} | averaged(runs))
    return rows


def photos(count: int = 100, side: int = 32) -> list[dict[str, Any]]:
    """Lossy: bytes and the root of the mean squared error, of 255."""
    if Image is None:
        return []
    draw, cuts = np.random.default_rng(0), []
    for index in range(count):
        whole = datasets.load_sample_images().images[index % 2]
        half = (
            whole[: whole.shape[0] // 2 * 2, : whole.shape[1] // 2 * 2]
            .reshape(213, 2, 320, 2, 3)
            .mean((1, 3))
        )
        row, column = (int(draw.integers(size - side)) for size in half.shape[:2])
        cuts.append(half[row : row + side, column : column + side].astype(np.uint8))
    pixels = np.asarray(cuts)
    space = Space("photo", (3, side, side), np.zeros(1, np.float32), np.ones(1, np.float32), 1)
    levels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    coreset = Coreset(space, "samples", 8, levels, np.zeros(count, np.int64), np.ones(count, np.float32))
    rows = []
    for quality in (10, 25, 40, 60):
        single = [webp(photo, quality=quality) for photo in pixels]
        data = encode(coreset, photo_quality=quality)
        back = decode(data, space, samples_max=count)
        rows.append(
            {
                "quality": quality,
                "single": mean(size - RIFF_BYTES for size, _ in single),
                "single_error": error(np.asarray([seen for _, seen in single]), pixels),
                "muster": len(data) / count,
                "muster_error": error(back.levels, levels),
                "lossless": len(encode(images_of(coreset))) / count,
            }
        )
    return rows


def images_of(photos: Coreset) -> Coreset:
    space = Space("image", photos.space.shape, photos.space.low, photos.space.high, photos.space.classes)
    return Coreset(space, photos.kind, photos.bits, photos.levels, photos.labels, photos.weights)


def error(seen: NDArray[Any], real: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean((seen.astype(float) - real) ** 2)))


def show(rows: list[dict[str, Any]], names: tuple[str, ...], each: bool) -> None:
    """A Markdown table; `each`: bytes a sample, else of all."""
    print(f"\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        cells = []
        for name in names:
            value = row[name]
            if isinstance(value, float) and name.endswith("_s"):
                value = f"{value * 1000:.0f} ms"
            elif isinstance(value, int | float) and name in ("packed", "zlib", "zstd", "webp", "muster"):
                value = f"{value / row['count']:.1f}" if each else f"{value:.0f}"
            elif isinstance(value, float):
                value = f"{value:.1f}"
            cells.append("-" if value is None else str(value))
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mnist", type=Path, default=MNIST)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {"images": [], "tables": [], "photos": photos()}
    if given.mnist.is_file():
        found["images"] = [row for count in (100, 1000) for row in images(given.mnist, count)]
    else:
        print(f"MNIST is not there: {given.mnist} (say where it is: --mnist FILE)")
    found["tables"] = [row for count, bits in ((30, 4), (100, 4), (100, 2)) for row in tables(count, bits)]
    sizes = ("packed", "zlib", "zstd", "webp", "muster", "encode_s", "decode_s")
    print("Images, bytes an image:")
    show(found["images"], ("set", "count", "bits", *sizes), each=True)
    print("\nTables, bytes; Muster's with labels, weights and the bounds of each column:")
    show(
        found["tables"], ("set", "count", "bits", "packed", "zlib", "zstd", "muster", *sizes[5:]), each=False
    )
    if found["photos"]:
        print("\nPhotos, bytes each and error of 255:")
        show(
            [row | {"count": 1} for row in found["photos"]],
            ("quality", "single", "single_error", "muster", "muster_error", "lossless"),
            each=True,
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""Files that people have samples in: pictures, arrays, tables.  What is wrong with one is a sentence."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.errors import MusterError
from muster.local.form import Form
from muster.local.rows import Label

FILE_BYTES_MAX = 32_000_000
PIXELS_MAX = 50_000_000
ROWS_MAX = 10_000
PICTURES = (".png", ".jpg", ".jpeg")
LABEL = "label"  # the column of a table


def array(data: bytes, form: Form) -> NDArray[Any]:
    """An .npy file with one sample. Raises MusterError("bad_data")."""
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise MusterError("bad_data", "it is no .npy file with plain numbers") from error
    if not isinstance(found, np.ndarray):
        raise MusterError("bad_data", "it is an archive: give one .npy file a sample")
    return form.sample(found)


def picture(data: bytes, form: Form) -> NDArray[Any]:
    """A picture in the size and the colours that the model takes. Raises MusterError: bad_data, usage."""
    colours, height, width, first = _layout(form)
    try:
        from PIL import Image
    except ImportError as error:
        raise MusterError("usage", "pictures need Pillow: pip install 'muster-fl[photos]'") from error
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > PIXELS_MAX:
                raise MusterError("bad_data", f"it has over {PIXELS_MAX // 1_000_000} million pixels")
            plain = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[colours])
            size = (plain.width if width < 0 else width, plain.height if height < 0 else height)
            pixels = np.asarray(plain if plain.size == size else plain.resize(size))
    except MusterError:
        raise
    except Exception as error:  # Pillow has many
        raise MusterError("bad_data", "it is no PNG or JPEG picture that can be read") from error
    if len(form.shape) == 3 and pixels.ndim == 2:
        pixels = pixels[..., None]
    return form.sample(pixels.transpose(2, 0, 1) if first and pixels.ndim == 3 else pixels)


def table(data: bytes, form: Form) -> list[tuple[NDArray[Any], Label]]:
    """A CSV file: a header with the column `label`, the others in order are a sample's values.

    Raises MusterError("bad_data"), which names the first line that is wrong.
    """
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MusterError("bad_data", "it is no CSV table in UTF-8") from error
    header = [name.strip() for name in lines[0]] if lines else []
    if header.count(LABEL) != 1:
        raise MusterError("bad_data", f"its first line must name its columns, one of them {LABEL!r}")
    if len(form.shape) != 1:
        raise MusterError(
            "bad_data", "the model's samples are no rows of numbers: give .npy files or pictures"
        )
    if len(lines) - 1 > ROWS_MAX:
        raise MusterError("bad_data", f"it has over {ROWS_MAX:,} rows: cut it into several files")
    at = header.index(LABEL)
    return [_row(row, at, len(header), number, form) for number, row in enumerate(lines[1:], 2) if row]


def _row(row: Sequence[str], at: int, columns: int, line: int, form: Form) -> tuple[NDArray[Any], Label]:
    try:
        if len(row) != columns:
            raise MusterError("bad_data", f"it has {len(row)} values, the first line {columns}")
        values = [float(text) for place, text in enumerate(row) if place != at]
        if not np.isfinite(values).all():
            raise MusterError("bad_data", "a value is not finite")
        x = np.array(values, np.float32 if form.dtype.startswith("float") else np.float64)
        if not form.dtype.startswith("float"):
            x = x.astype(form.dtype)
        return form.sample(x), form.label(row[at])
    except ValueError as error:
        raise MusterError("bad_data", f"line {line}: a value is no number") from error
    except MusterError as error:
        raise MusterError("bad_data", f"line {line}: {error.sentence}") from error


def _layout(form: Form) -> tuple[int, int, int, bool]:
    """(colours, height, width, whether colours are the first axis) of samples that are pictures."""
    shape = form.shape
    if form.dtype == "uint8":
        if len(shape) == 2:
            return 1, *shape, False
        if len(shape) == 3 and shape[0] in (1, 3, 4):
            return shape[0], shape[1], shape[2], True
        if len(shape) == 3 and shape[2] in (1, 3, 4):
            return shape[2], shape[0], shape[1], False
    raise MusterError(
        "bad_data",
        f"the model takes {form.dtype} samples of shape {shape}, which a picture is not: let the task's "
        "prepare() take uint8 pixels",
    )

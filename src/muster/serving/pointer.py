"""Which model of a task is in use: a small JSON file that is replaced whole, and the models beside it.

Whoever moves the pointer (the daemon, a command) has copied and synced the model before; the server looks at
it twice a second.  So a crash at any time leaves the old model in use or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from muster.errors import MusterError
from muster.protocol.envelope import UNREADABLE
from muster.serving.paths import MODELS, PARAMETERS, models_of, parameters_of, pointer_of
from muster.storage.files import FULL
from muster.storage.staged import PIECE_BYTES, fsync_dir, write_staged

POINTER_BYTES_MAX = 16 * 1024
MODEL_BYTES_MAX = (1 << 31) - 1  # what fits into one protobuf
REASON_CHARS_MAX = 500
OLDER_KEPT = 3  # models besides the one in use and the former one
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Model(msgspec.Struct, frozen=True):
    """A model in a served task's folder. Fields of later versions of Muster are passed over."""

    version: str
    model: str  # path in the folder, "models/VERSION.onnx"
    sha256: str

    def path(self, folder: Path) -> Path:
        return folder / self.model

    def sketch_path(self, folder: Path) -> Path:
        """Where its sketch graph is, if it has one."""
        return models_of(folder) / f"{self.version}.sketch.onnx"


class Served(msgspec.Struct, frozen=True):
    """What the pointer says."""

    version: str
    model: str
    sha256: str
    since: float  # when it went into use: Unix seconds
    reason: str
    former: Model | None = None  # what was in use before; answers new labels, too

    @property
    def current(self) -> Model:
        return Model(self.version, self.model, self.sha256)


def read(folder: Path) -> Served | None:
    """The pointer; None: nothing was put into use yet. Raises MusterError: bad_data, home."""
    path = pointer_of(folder)
    try:
        with path.open("rb") as file:
            data = file.read(POINTER_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MusterError("home", f"{path} cannot be read: {error.strerror}") from error
    if len(data) > POINTER_BYTES_MAX:
        raise _malformed(path, f"it has over {POINTER_BYTES_MAX} bytes")
    try:
        found = msgspec.json.decode(data, type=Served)
    except UNREADABLE as error:
        raise _malformed(path, str(error)) from error
    if (what := _wrong(found)) is not None:
        raise _malformed(path, what)
    return found


def verified(folder: Path, model: Model) -> Path:
    """A model's file, once its bytes have the hash that the pointer says. Raises MusterError bad_data."""
    path = model.path(folder)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MODEL_BYTES_MAX:
                raise _damaged(path, f"has over {MODEL_BYTES_MAX} bytes")
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise _damaged(path, "is not there") from error
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    if found != model.sha256:
        raise _damaged(path, "is not what was put into use: its hash differs")
    return path


def use_model(
    folder: Path,
    version: str,
    file: Path,
    sketch_file: Path | None,
    reason: str,
    parameters: Path | None = None,
) -> Served:
    """Copy a model into the folder and put it into use; what the pointer says then.

    `sketch_file` and `parameters` come beside it, as `paths` says.

    Of other bytes under a known version the version gets the beginning of their hash added: answers name
    what made them.  The model that is in use already stays as it is.  Raises MusterError: usage, bad_data,
    disk_full, home.
    """
    if not _VERSION.fullmatch(version):
        raise MusterError("usage", f"{version[:64]!r} is no version: use 1 to 64 letters, digits, '_' or '-'")
    with _moving(folder):
        before = _readable(folder)
        sha256 = _hash(file)
        known = models_of(folder) / f"{version}.onnx"
        if known.exists() and _hash(known) != sha256:
            version = f"{version[:55]}-{sha256[:8]}"
        model = Model(version, f"{MODELS}/{version}.onnx", sha256)
        if sketch_file is not None:
            _copy(sketch_file, model.sketch_path(folder), _hash(sketch_file))
        if parameters is not None:
            _copy(parameters, parameters_of(folder, sha256), _hash(parameters))
        _copy(file, model.path(folder), sha256)
        if before is not None and before.current == model:
            return before
        former = None if before is None else before.current
        return _move(folder, model, former, reason)


def go_back(folder: Path, reason: str) -> Served:
    """Put the former model into use again. The one that is left becomes the former one, so that going back
    again undoes it. Raises MusterError: no_result, bad_data, disk_full, home."""
    with _moving(folder):
        before = read(folder)
        if before is None or before.former is None:
            raise MusterError("no_result", f"there is no former model of {folder.name} to go back to")
        verified(folder, before.former)
        return _move(folder, before.former, before.current, reason)


def _move(folder: Path, model: Model, former: Model | None, reason: str) -> Served:
    served = Served(model.version, model.model, model.sha256, time.time(), reason[:REASON_CHARS_MAX], former)
    part = pointer_of(folder).with_name(".current.part")
    part.unlink(missing_ok=True)
    write_staged(part, (msgspec.json.format(msgspec.json.encode(served), indent=1) + b"\n",))
    os.replace(part, pointer_of(folder))
    fsync_dir(folder)
    _forget_old(folder, served)
    return served


@contextlib.contextmanager
def _moving(folder: Path) -> Iterator[None]:
    """One process at a time; what the disk fails with becomes a MusterError."""
    try:
        models_of(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in models_of(folder).glob(".*.part"):  # by a process that was killed
                left.unlink()
            yield
    except OSError as error:
        if error.errno in FULL:
            raise MusterError(
                "disk_full", f"the disk that holds {folder} is full: free some space"
            ) from error
        raise MusterError("home", f"{folder} cannot be written: {error.strerror}") from error


def _readable(folder: Path) -> Served | None:
    """The pointer, unless it is damaged: a new one replaces it."""
    try:
        return read(folder)
    except MusterError as error:
        if error.code != "bad_data":
            raise
        return None


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if not 0 < os.fstat(file.fileno()).st_size <= MODEL_BYTES_MAX:
                raise MusterError(
                    "bad_data", f"{path} is no model: it is empty or over {MODEL_BYTES_MAX} bytes"
                )
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MusterError("bad_data", f"the model {path} cannot be read: {error.strerror}") from error


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy and sync a file whose hash is known, unless it is there. Raises MusterError, OSError."""
    if target.exists() and _hash(target) == sha256:
        return
    part = target.with_name(f".{target.name}.part")
    with source.open("rb") as file:
        written = write_staged(part, iter(lambda: file.read(PIECE_BYTES), b""))
    if written.hex() != sha256:
        part.unlink()
        raise MusterError("bad_data", f"{source} was changed while it was copied: try again")
    os.replace(part, target)
    fsync_dir(target.parent)


def _forget_old(folder: Path, served: Served) -> None:
    """Delete all models but the one in use, the former one and the newest few others."""
    kept = {served.version} | ({served.former.version} if served.former else set())
    with contextlib.suppress(OSError):  # next time
        others = [
            (path.stat().st_mtime, path)
            for path in models_of(folder).glob("*.onnx")
            if not path.name.endswith(".sketch.onnx") and path.stem not in kept
        ]
        for _, path in sorted(others, reverse=True)[OLDER_KEPT:]:
            path.unlink(missing_ok=True)
            path.with_suffix(".sketch.onnx").unlink(missing_ok=True)
        hashes = {served.sha256} | ({served.former.sha256} if served.former else set())
        for path in models_of(folder).glob(f"*{PARAMETERS}"):
            if path.stem not in hashes:
                path.unlink(missing_ok=True)


def _wrong(found: Served) -> str | None:
    """What is wrong with a pointer that could be decoded, or None."""
    for model in (found.current, found.former):
        if model is None:
            continue
        if not _VERSION.fullmatch(model.version):
            return f"{model.version[:64]!r} is no version"
        if model.model != f"{MODELS}/{model.version}.onnx":
            return f"the model of {model.version} is not at {MODELS}/{model.version}.onnx"
        if not re.fullmatch(r"[0-9a-f]{64}", model.sha256):
            return f"the hash of {model.version} is no SHA-256"
    if not 0 <= found.since < 1 << 53 or len(found.reason) > REASON_CHARS_MAX:
        return "its time or its reason is outside the limits"
    return None


def _malformed(path: Path, what: str) -> MusterError:
    return MusterError(
        "bad_data", f"{path} is damaged ({what}): put a model into use again with 'muster use COMMIT'"
    )


def _damaged(path: Path, what: str) -> MusterError:
    return MusterError("bad_data", f"the model {path} {what}: put one into use with 'muster use COMMIT'")

"""Looks at the machine: clock, disk, memory, what is installed, the bundle."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import pwd
import re
import time
from pathlib import Path

from cryptography import x509

from muster.errors import MusterError
from muster.network.trust.identity import load_bundle
from muster.node.config import NodeConfig, fleet_dir
from muster.node.doctor.facts import Bundle, Clock, Home
from muster.storage import database

_TIME_ERROR = 5  # adjtimex(2): the clock is kept by nobody
_TIMEX_BYTES = 512  # its struct has less than half of it
_USER_VERSION_AT = 60  # in an SQLite file
_NEWEST = ("store.sqlite", "store.sqlite-wal", "blobs")


def clock(home: Path) -> Clock:
    """This machine's, and when the home was written last."""
    times = [found.st_mtime for name in _NEWEST if (found := _stat(home / name)) is not None]
    return Clock(time.time(), max(times, default=None), _synchronised())


def _synchronised() -> bool | None:
    with contextlib.suppress(OSError, AttributeError):
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
        return None if state < 0 else state != _TIME_ERROR
    return None


def home(config: NodeConfig) -> Home:
    """The home, or where it would be made."""
    path = config.home
    place = path
    while not os.path.isdir(place) and place != place.parent:  # False as well where this user may not look
        place = place.parent
    try:
        disk = os.statvfs(place)
    except OSError as error:
        return Home(str(path), False, error.strerror or str(error))
    return Home(
        str(path),
        os.path.isdir(path),
        _write_fault(place),
        disk.f_bavail * disk.f_frsize,
        disk.f_favail if disk.f_files else 1 << 62,  # btrfs and others count none
        _size_bytes(path / "blobs"),
        int(config.policy.disk_limit_mb * 1e6),
        _store_format(path / "store.sqlite"),
        database.FORMAT,
    )


def _write_fault(place: Path) -> str:
    probe = place / f".muster-doctor-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return f"this user can write nothing in {place} ({error.strerror})"
    return ""


def _size_bytes(folder: Path) -> int:
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # deleted meanwhile
                found += (Path(place) / name).stat().st_size
    return found


def _store_format(path: Path) -> int | None:
    """Read from the file itself: to open the database as root would leave files that are root's."""
    try:
        with path.open("rb") as file:
            head = file.read(_USER_VERSION_AT + 4)
    except OSError:
        return None
    return int.from_bytes(head[_USER_VERSION_AT:], "big") or None  # 0: it is all in the log as yet


def memory_bytes() -> tuple[int, int]:
    """Of the machine, and what programs could still have."""
    found = {"MemTotal": 0, "MemAvailable": 0}
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            key, _, rest = line.partition(":")
            if key in found:
                found[key] = 1024 * int(rest.split()[0])
    return found["MemTotal"], found["MemAvailable"]


def bundle(config: NodeConfig) -> Bundle:
    """The node's bundle: that of node.toml, else that of the machine's own fleet."""
    path = config.bundle or fleet_dir() / "nodes" / f"{config.name}.pem"
    if config.bundle is None and _stat(path) is None:
        return Bundle(str(path), made_later=True)
    try:
        identity = load_bundle(path)
        certificate = x509.load_der_x509_certificate(identity.certificate)
    except MusterError as error:
        return Bundle(str(path), fault=error.sentence)
    found = _stat(path)
    return Bundle(
        str(path),
        name=identity.name,
        fleet=identity.fleet,
        from_s=certificate.not_valid_before_utc.timestamp(),
        until_s=certificate.not_valid_after_utc.timestamp(),
        mode=found.st_mode & 0o777 if found else 0,
        owner=_owner(found),
        home_owner=_owner(_stat(config.home)),
    )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _owner(found: os.stat_result | None) -> str:
    if found is None:
        return ""
    try:
        return pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        return str(found.st_uid)


def packages() -> dict[str, str | None]:
    """Versions of what is large and may be left out."""
    found: dict[str, str | None] = {}
    for name in ("torch", "onnxruntime"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def torch_has_cuda() -> bool:
    """Whether torch is a build for CUDA, read from its version file: to import it takes seconds."""
    spec = importlib.util.find_spec("torch")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        with contextlib.suppress(OSError):
            text = (Path(folder) / "version.py").read_text("utf-8")
            return re.search(r"^cuda\b.*=\s*['\"]", text, re.MULTILINE) is not None
    return False

"""Reads a node's configuration: one TOML file, every key optional (docs/configuration.md).

    name = "alpha"                        # default: the host's name
    home = "~/.local/share/muster/alpha"  # $MUSTER_HOME goes first, `--home` before both
    listen = ["0.0.0.0:7447"]

Relative paths in the file are relative to the file.  A mistake is one sentence with file, line and key.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import msgspec

from muster.errors import MusterError
from muster.learning.settings import wrong
from muster.network.transport.endpoints import endpoint_fault
from muster.node import policy
from muster.node.energy.settings import LIMITS as ENERGY_LIMITS
from muster.node.energy.settings import EnergyConfig, wrong_key
from muster.node.policy import LIMITS as POLICY_LIMITS
from muster.node.policy import PolicyConfig
from muster.node.serving.reading import taken_out
from muster.node.toml_lines import line_of, toml_fault
from muster.serving.settings import ServeConfig

SERVICE_HOMES = Path("/var/lib/muster")  # of nodes that systemd runs
CONFIG_BYTES_MAX = 256 * 1024
SOCKET_PATH_BYTES_MAX = 100  # of a Unix socket's address (the kernel's limit is 107)
ENDPOINTS_MAX = 64
TASKS_MAX = 64
NAME_CHARS_MAX = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class TrainerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The child process that trains."""

    threads: int = 1  # that torch computes with
    niceness: int = 10  # how far it stands back behind other programs
    slowdown: float = 1.0  # over 1: computes only 1/slowdown of the time


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All a daemon needs to know; paths are absolute."""

    name: str  # for people; a bundle's name goes first
    home: Path  # where it keeps everything
    bundle: Path | None = None  # None: this machine's own fleet
    listen: tuple[
        str, ...
    ] = ()  # "host:port", waited for where it is missing; none: any free port, 7447 first
    connect: tuple[str, ...] = ()  # "host:port" of neighbours that are always dialled
    discovery: bool = True  # look for nodes on the local network by multicast
    profile: Literal["auto", "lan", "narrow"] = "auto"  # timings of links; narrow: below 64 kbit/s
    policy: PolicyConfig = PolicyConfig()
    trainer: TrainerConfig = TrainerConfig()
    energy: EnergyConfig = EnergyConfig()
    serve: dict[str, ServeConfig] = {}  # of the tasks that are served, by name
    tasks: dict[str, dict[str, Any]] = {}  # name -> options; "file" names the task's file, else installed

    @property
    def control_socket(self) -> Path:
        return self.home / "control.sock"


_SECTIONS: dict[str, type] = {"policy": PolicyConfig, "trainer": TrainerConfig, "energy": EnergyConfig}
_TOP = tuple(name for name in NodeConfig.__struct_fields__ if name != "serve")


def data_root() -> Path:
    """Where homes and the machine's fleet live: $XDG_DATA_HOME/muster, else ~/.local/share/muster."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "share") / "muster"


def home_roots() -> list[Path]:
    """Where homes of running nodes are looked for: data_root(), and that of services unless $XDG_DATA_HOME
    names a place."""
    return [data_root()] if os.environ.get("XDG_DATA_HOME") else [data_root(), SERVICE_HOMES]


def fleet_dir() -> Path:
    """This machine's fleet ('_' begins no node's name, so it is never somebody's home)."""
    return data_root() / "_fleet"


def host_name() -> str:
    """The host's name, made into a node's name."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().split(".")[0]).lstrip("-_")[:NAME_CHARS_MAX]
    return plain or "node"


def load_config(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> NodeConfig:
    """The configuration in `path` (None: defaults) with `overrides` (top-level keys; None is not given).

    Precedence of the home: overrides, $MUSTER_HOME, the file, data_root()/<name>.
    Raises MusterError config (file, line, key), usage (a wrong override), home.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    raw, text, source, folder = _read(path)
    reader = _Reader(source, text)
    raw, serve = taken_out(raw, reader, folder)
    reader.check_keys(raw)
    plain = reader.absolute(raw, folder)
    home = given.get("home") or os.environ.get("MUSTER_HOME")
    for key in ("bundle",):
        if key in given:
            given[key] = str(Path(str(given[key])).expanduser().absolute())
    merged: dict[str, Any] = {**plain, **given}
    merged.setdefault("name", host_name())
    if home:
        merged["home"] = str(home)
    merged.setdefault("home", str(data_root() / str(merged["name"])))
    merged["home"] = str(Path(str(merged["home"])).expanduser().absolute())
    config = msgspec.structs.replace(reader.convert(merged, set(given)), serve=serve)
    reader.check_values(config, set(given))
    if len(os.fsencode(config.control_socket)) > SOCKET_PATH_BYTES_MAX:
        raise MusterError(
            "home", f"the path of the home {config.home} is too long: use a shorter one (--home)"
        )
    return config


def _read(path: Path | None) -> tuple[dict[str, Any], str, str, Path]:
    if path is None:
        return {}, "", "the command line", Path.cwd()
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise MusterError("config", f"there is no configuration file {path}: check the path") from error
    except OSError as error:
        raise MusterError("config", f"{path} cannot be read: {error.strerror}") from error
    if len(content) > CONFIG_BYTES_MAX:
        raise MusterError("config", f"{path} is no node configuration: it has over {CONFIG_BYTES_MAX} bytes")
    try:
        text = content.decode()
        return tomllib.loads(text), text, str(path), path.absolute().parent
    except UnicodeDecodeError as error:
        raise MusterError("config", f"{path} is not a text file in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise MusterError("config", f"{path} is not valid TOML: {toml_fault(str(error), text)}") from error


class _Reader:
    """Checks plain TOML values; every error names the file, the line and the key."""

    def __init__(self, source: str, text: str) -> None:
        self.source = source
        self.text = text

    def fault(self, path: tuple[str, ...], what: str) -> MusterError:
        line = line_of(self.text, path)
        where = f"{self.source}, line {line}" if line else self.source
        return MusterError("config", f"{where}: {what}")

    def check_keys(self, raw: dict[str, Any]) -> None:
        for key, value in raw.items():
            if key not in _TOP:
                raise self.unknown((key,), _TOP)
            for name, options in value.items() if key == "tasks" and isinstance(value, dict) else ():
                if not isinstance(options, dict):
                    raise self.fault((key, name), f"'tasks.{name}' must be a table, write [tasks.{name}]")
                self.check_task(name, options)
            section = _SECTIONS.get(key)
            if section is None:
                continue
            if not isinstance(value, dict):
                raise self.fault((key,), f"{key!r} must be a table, write [{key}]")
            for inner in value:
                if inner not in section.__struct_fields__:  # type: ignore[attr-defined]
                    raise self.unknown((key, inner), section.__struct_fields__)  # type: ignore[attr-defined]

    def check_task(self, name: str, options: dict[str, Any]) -> None:
        """The keys that all tasks share; a task's own are checked by what it declares, where it is opened."""
        for key, value in options.items():
            if (what := wrong(key, value)) is not None:
                raise self.fault(("tasks", name, key), f"'tasks.{name}.{key}': {value!r} is not {what}")
        part, parts = options.get("part", 0), options.get("parts", 1)
        if part >= parts:
            said = f"there is no part {part} of {parts}: parts are 0 to {parts - 1}"
            raise self.fault(("tasks", name, "part"), f"'tasks.{name}.part': {said}")
        if "file" in options and "flower" in options:
            raise self.fault(("tasks", name, "flower"), f"'tasks.{name}' has a file and flower: one of them")

    def unknown(self, path: tuple[str, ...], allowed: tuple[str, ...]) -> MusterError:
        near = difflib.get_close_matches(path[-1], allowed, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(allowed)}"
        return self.fault(path, f"unknown key {'.'.join(path)!r}; {hint}")

    def absolute(self, raw: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Paths made absolute: home, bundle, and file and data of every task."""

        def place(value: Any) -> Any:
            return str(folder / Path(value).expanduser()) if isinstance(value, str) and value else value

        plain = dict(raw)
        for key in ("home", "bundle"):
            if key in plain:
                plain[key] = place(plain[key])
        tasks = plain.get("tasks")
        if isinstance(tasks, dict):
            plain["tasks"] = {
                name: {k: place(v) if k in ("file", "data") else v for k, v in options.items()}
                if isinstance(options, dict)
                else options
                for name, options in tasks.items()
            }
        return plain

    def convert(self, raw: dict[str, Any], given: set[str]) -> NodeConfig:
        try:
            return msgspec.convert(raw, type=NodeConfig, dec_hook=_to_path)
        except msgspec.ValidationError as error:
            what, _, place = str(error).partition(" - at `$")
            path = tuple(re.findall(r"[A-Za-z_][A-Za-z0-9_-]*", place))
            if path and path[-1] not in (*_TOP, *(f for s in _SECTIONS.values() for f in get_type_hints(s))):
                path = path[:1]  # an item of a mapping ("[...]"): name the table
            what = _choices(path, raw) or what[0].lower() + what[1:]
            if path and path[0] in given:
                raise MusterError("usage", f"--{path[0]}: {what}") from error
            raise self.fault(path, f"{'.'.join(path)!r}: {what}") from error

    def check_values(self, config: NodeConfig, given: set[str]) -> None:
        def wrong(path: tuple[str, ...], what: str) -> MusterError:
            if path[0] in given:
                return MusterError("usage", f"--{path[0]}: {what}")
            return self.fault(path, f"{'.'.join(path)!r}: {what}")

        if len(config.name) > NAME_CHARS_MAX or not _NAME.fullmatch(config.name):
            raise wrong(
                ("name",),
                f"{config.name!r} is no name: use 1 to {NAME_CHARS_MAX} letters, digits, '.', '_' or '-', "
                "beginning with a letter or digit",
            )
        for key in ("listen", "connect"):
            endpoints: tuple[str, ...] = getattr(config, key)
            if len(endpoints) > ENDPOINTS_MAX:
                raise wrong((key,), f"{len(endpoints)} endpoints are over the limit of {ENDPOINTS_MAX}")
            for endpoint in endpoints:
                if (said := endpoint_fault(endpoint, dialled=key == "connect")) is not None:
                    raise wrong((key,), said)
        if len(config.tasks) > TASKS_MAX:
            raise wrong(("tasks",), f"{len(config.tasks)} tasks are over the limit of {TASKS_MAX}")
        for section, name, low, high in _LIMITS:
            part = getattr(config, section)
            value = getattr(part, name, None)
            if value is not None and not low <= value <= high:
                raise wrong((section, name), f"{value:g} is not within {low:g} to {high:g}")
        for section, found in (
            ("policy", policy.wrong_key(config.policy)),
            ("energy", wrong_key(config.energy)),
        ):
            if found is not None:
                raise wrong((section, found[0]), found[1])


_LIMITS: tuple[tuple[str, str, float, float], ...] = (
    ("trainer", "threads", 1, 256),
    ("trainer", "niceness", 0, 19),
    ("trainer", "slowdown", 1, 1000),
    *(("energy", *limit) for limit in ENERGY_LIMITS),
    *(("policy", *limit) for limit in POLICY_LIMITS),
)


def _choices(path: tuple[str, ...], raw: dict[str, Any]) -> str | None:
    """What is wrong with a text of which only a few are known, as a sentence; None: something else is."""
    section = _SECTIONS.get(path[0], NodeConfig) if path else NodeConfig
    known = get_args(get_type_hints(section).get(path[-1])) if path else ()
    value: Any = raw
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str) or not known or not all(isinstance(choice, str) for choice in known):
        return None
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{value[:NAME_CHARS_MAX]!r} is not one of {', '.join(known)}{hint}"


def _to_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError("expected a path")

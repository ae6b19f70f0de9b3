"""Reads [tasks.NAME.serve] out of a node's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, get_args, get_type_hints

import msgspec

from muster.errors import MusterError
from muster.serving.settings import ServeConfig, wrong_key

SECTION = "serve"


class Faults(Protocol):
    """Makes errors that name the file and the line."""

    def fault(self, path: tuple[str, ...], what: str) -> MusterError: ...

    def unknown(self, path: tuple[str, ...], allowed: tuple[str, ...]) -> MusterError: ...


def taken_out(
    raw: Mapping[str, Any], faults: Faults, folder: Path
) -> tuple[dict[str, Any], dict[str, ServeConfig]]:
    """The plain configuration without these sections, and what they say by task; `folder`: of relative paths.

    Raises MusterError config.
    """
    tasks = raw.get("tasks")
    if not isinstance(tasks, dict):
        return dict(raw), {}
    found: dict[str, ServeConfig] = {}
    others: dict[str, Any] = {}
    for name, options in tasks.items():
        if isinstance(options, dict) and SECTION in options:
            found[name] = _read(("tasks", name, SECTION), options[SECTION], faults, folder)
            options = {key: value for key, value in options.items() if key != SECTION}
        others[name] = options
    return {**raw, "tasks": others}, found


def _read(path: tuple[str, ...], given: Any, faults: Faults, folder: Path) -> ServeConfig:
    dotted = ".".join(path)
    if not isinstance(given, dict):
        raise faults.fault(path, f"{dotted!r} must be a table, write [{dotted}]")
    for key in given:
        if key not in ServeConfig.__struct_fields__:
            raise faults.unknown((*path, key), ServeConfig.__struct_fields__)
    try:
        config = msgspec.convert(given, type=ServeConfig, dec_hook=_to_path)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        key = place.rstrip("`")
        choices = get_args(get_type_hints(ServeConfig).get(key))
        if isinstance(given.get(key), str) and choices and all(isinstance(choice, str) for choice in choices):
            what = f"{given[key][:60]!r} is not one of {', '.join(choices)}"
        raise faults.fault((*path, key), f"'{dotted}.{key}': {what[0].lower() + what[1:]}") from error
    if (wrong := wrong_key(config)) is not None:
        raise faults.fault((*path, wrong[0]), f"'{dotted}.{wrong[0]}': {wrong[1]}")
    if config.inbox is not None:
        config = msgspec.structs.replace(config, inbox=folder / config.inbox.expanduser())
    return config


def _to_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError("expected a path")

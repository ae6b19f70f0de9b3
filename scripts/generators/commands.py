"""The command line, from its commands."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator

import click

IN_USE = ("serve", "label", "use", "rollback", "field", "adapt")  # commands about models in use
RUNNING = ("node", "service", "doctor", "fleet", "dashboard")  # commands for who runs nodes


def command_line() -> str:
    """All commands but `IN_USE` and `RUNNING`; options that several have in common stand at the end, once."""
    found, common = _found()
    others = [entry for entry in found if entry[0].split()[1] not in IN_USE + RUNNING]
    ordered = list(dict.fromkeys(line for _, _, _, options in found for line in options if line in common))
    parts = [_sections(others, common), "", "## Options that several commands have", "", *ordered]
    return "\n".join(parts).strip()


def commands_in_use() -> str:
    """The commands about models in use."""
    found, common = _found()
    return _sections([entry for entry in found if entry[0].split()[1] in IN_USE], common)


def commands_of_nodes() -> str:
    """The commands for who runs nodes."""
    found, common = _found()
    return _sections([entry for entry in found if entry[0].split()[1] in RUNNING], common)


def _found() -> tuple[list[tuple[str, str, list[str], list[str]]], set[str]]:
    """What `_commands` finds, and the options that several commands have in common."""
    from muster.cli.main import cli

    found = list(_commands(cli, "muster", click.Context(cli, info_name="muster"), {}))
    times = Counter(line for _, _, _, options in found for line in options)
    return found, {line for line, count in times.items() if count > 1}


def _sections(found: list[tuple[str, str, list[str], list[str]]], common: set[str]) -> str:
    parts: list[str] = []
    for path, usage, text, options in found:
        own = [line for line in options if line not in common]
        shared = ", ".join(line.split("`")[1].split()[0] for line in options if line in common)
        few = f" Options, of those below: `{shared}`." if shared and not own else ""
        said = [f"`{path} {usage}`: {text[0]}" if usage else text[0], *text[1:]]
        parts += [f"## {path}", *said[:-1], said[-1] + few]
        parts += [*own, *([f"* and of those below: `{shared}`"] if shared and own else []), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip()


def _commands(
    command: click.Command, path: str, context: click.Context, seen: dict[int, str]
) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """(path, usage, paragraphs, a line an option) of a command and of those below it.

    `seen` has where each command stands: one with two names is described once.
    """
    if (first := seen.setdefault(id(command), path)) != path:
        yield path, "", [f"The same as `{first}`."], []
        return
    text = "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n"))
    if isinstance(command, click.Group):
        if path != "muster":
            yield path, "", text.split("\n"), []
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            below = click.Context(inner, info_name=name, parent=context)
            yield from _commands(inner, f"{path} {name}", below, seen)
        return
    records = [
        parameter.get_help_record(context)
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    lines = [f"* `{r[0]}`: {' '.join(r[1].split())}" for r in records if r is not None]
    yield path, " ".join(command.collect_usage_pieces(context)), text.split("\n"), lines

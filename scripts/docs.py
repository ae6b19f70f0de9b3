#!/usr/bin/env python3
"""Writes the generated parts of docs/: keys from structs, commands from click, claims from bench/results.

A part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`.

    python scripts/docs.py            write
    python scripts/docs.py --check    exit with 1 if a page is not what would be written
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import sys
import textwrap
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

ROOT = Path(__file__).resolve().parents[1]
DOCS, RESULTS = ROOT / "docs", ROOT / "bench" / "results"


# ---- tables of struct fields -----------------------------------------------------------------------------


def fields(kind: type[msgspec.Struct]) -> list[tuple[str, str, str, str]]:
    """(key, type, default, meaning) of each field; the meaning is the comment behind it in the source."""
    lines, _ = inspect.getsourcelines(kind)
    source = textwrap.dedent("".join(lines))
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    found = []
    for item in body.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            default = "" if item.value is None else ast.unparse(item.value)
            found.append((item.target.id, _plain(item.annotation), default, comments.get(item.lineno, "")))
    return found


def _plain(annotation: ast.expr) -> str:
    """A type as somebody who writes TOML says it."""
    text = ast.unparse(annotation)
    if choices := re.fullmatch(r"Literal\[(.*)\]", text):
        return choices[1].replace("'", '"')
    text = text.removesuffix(" | None").replace("tuple[tuple[str, ...], ...]", "list of lists of text")
    names = {
        "str": "text", "Path": "path", "float": "number", "int": "whole number", "bool": "true or false",
        "tuple[str, ...]": "list of text", "list of lists of text": "list of lists of text",
    }  # fmt: skip
    return names.get(text, "table")


SAID = {"None": "-", "()": "-", "{}": "-", "": "must be given", "True": "true", "False": "false"}


def key_table(
    kind: type[msgspec.Struct],
    prefix: str = "",
    limits: dict[str, str] | None = None,
    defaults: dict[str, str] | None = None,
    leave_out: Iterable[str] = (),
) -> str:
    """A row a field. `defaults` are those that are worked out when the file is read."""
    rows = []
    for key, shape, default, meaning in fields(kind):
        if key not in leave_out:
            default = (defaults or {}).get(key) or SAID.get(default, default.replace("'", '"'))
            text = "; ".join(t for t in (meaning.replace("None", "none"), (limits or {}).get(key)) if t)
            rows.append((f"`{prefix}{key}`", shape, default, text))
    return table(("key", "value", "default", "meaning"), rows)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def node_configuration() -> str:
    from muster.node import config

    limits: dict[str, dict[str, str]] = {}
    for section, name, low, high in config._LIMITS:
        limits.setdefault(section, {})[name] = f"{low:,} to {high:,.0f}"
    defaults = {"name": "the host's name", "home": "`~/.local/share/muster/NAME`"}
    own = (*config._SECTIONS, "tasks")
    parts = [key_table(config.NodeConfig, defaults=defaults, leave_out=own)]
    for section, kind in config._SECTIONS.items():
        parts += ["", f"### `[{section}]`", "", _whole(kind), ""]
        parts.append(key_table(kind, f"{section}.", limits.get(section)))
    return "\n".join(parts)


def _whole(kind: type[msgspec.Struct]) -> str:
    return " ".join(inspect.getdoc(kind).split("\n\n")[0].split()) if kind.__doc__ else ""


def scenarios() -> str:
    from muster.emulation import scenario
    from muster.emulation.radio.bursts import Burst
    from muster.emulation.radio.model import LinkParams

    node = scenario.Scenario.__annotations__["nodes"]
    kind = getattr(scenario, re.search(r"tuple\[(\w+)", str(node))[1])  # type: ignore[index]
    parts = []
    for title, struct in (
        ("`nodes`", kind), ("`away` of a node", scenario.Away), ("`battery` of a node", scenario.Battery),
        ("link parameters", LinkParams), ("`burst` of a link", Burst),
    ):  # fmt: skip
        parts += [f"### {title}", "", _whole(struct), "", key_table(struct), ""]
    return "\n".join(parts).replace("\n\n\n", "\n\n").strip()


def faults() -> str:
    from muster.simulation import faults as module

    rows = []
    for kind in get_args(module.Fault):
        keys = [f"`{key}`" + (f" ({SAID.get(d, d)})" if d else "") for key, _, d, _ in fields(kind)]
        said = ", ".join(keys).replace("EVERY", '"*"')
        rows.append((f"`{kind.__struct_config__.tag}`", said, _whole(kind)))
    return table(("fault", "keys (default)", "what happens"), rows)


def reactions() -> str:
    """Which loop may have something to do when a record of some kind comes."""
    from muster.job.registry import REACTIONS

    loops = list(dict.fromkeys(loop for found in REACTIONS.values() for loop in found))
    rows = [(kind, *("x" if loop in found else "" for loop in loops)) for kind, found in REACTIONS.items()]
    return table(("record", *loops), rows)


# ---- the command line ------------------------------------------------------------------------------------


def command_line() -> str:
    """All commands; options that several have in common stand at the end, once."""
    from muster.cli.main import cli

    found = list(_commands(cli, "muster", click.Context(cli, info_name="muster")))
    times = Counter(line for _, _, _, options in found for line in options)
    common = {line for line, count in times.items() if count > 1}
    parts: list[str] = []
    for path, usage, text, options in found:
        parts += [f"## {path}", "", f"`{path} {usage}`: {text[0]}" if usage else text[0], *text[1:], ""]
        own = [line for line in options if line not in common]
        shared = ", ".join(line.split("`")[1].split()[0] for line in options if line in common)
        parts += [*own, *([f"* and of those below: `{shared}`"] if shared else []), ""]
    ordered = list(dict.fromkeys(line for _, _, _, options in found for line in options if line in common))
    parts += ["## Options that several commands have", "", *ordered]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip()


def _commands(
    command: click.Command, path: str, context: click.Context
) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """(path, usage, paragraphs, a line an option) of a command and of those below it."""
    text = "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n"))
    if isinstance(command, click.Group):
        if path != "muster":
            yield path, "", text.split("\n"), []
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            below = click.Context(inner, info_name=name, parent=context)
            yield from _commands(inner, f"{path} {name}", below)
        return
    records = [
        parameter.get_help_record(context)
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    lines = [f"* `{r[0]}`: {' '.join(r[1].split())}" for r in records if r is not None]
    yield path, " ".join(command.collect_usage_pieces(context)), text.split("\n"), lines


# ---- benchmarks ------------------------------------------------------------------------------------------

UNKNOWN = "not recorded"
FIELDS = ("claim", "target", "value", "unit", "spread", "runs", "command", "commit", "machine", "date", "met")


def claims() -> list[dict[str, Any]]:
    """All results, those that miss their target first."""
    found = []
    for path in sorted(RESULTS.glob("*.json")):
        for entry in json.loads(path.read_text("utf-8")):
            missing = [field for field in FIELDS if field not in entry]
            if missing:
                raise SystemExit(f"{path.name}: {entry.get('claim', '?')!r} lacks {', '.join(missing)}")
            found.append({**entry, "subject": path.stem})
    return sorted(found, key=lambda e: (-1 if e["met"] is False else 0 if e["met"] else 1, e["subject"]))


def benchmarks() -> str:
    """What misses its target, what meets it, what has none; then commands and machines."""
    commands: dict[str, str] = {}
    machines: dict[str, str] = {}
    tables: dict[bool | None, list[tuple[str, ...]]] = {False: [], True: [], None: []}
    for entry in claims():
        by, on = entry["command"], entry["machine"]
        by = by if by == UNKNOWN else commands.setdefault(by, f"c{len(commands) + 1}")
        on = on if on == UNKNOWN else machines.setdefault(on, f"m{len(machines) + 1}")
        value = f"{entry['value']} {entry['unit']}".strip()
        when = " ".join(part for part in (entry["date"], entry["commit"]) if part != UNKNOWN) or UNKNOWN
        row = (entry["claim"], entry["target"], value, entry["spread"], str(entry["runs"]), by, on, when)
        tables[entry["met"]].append(row)
    head = ("claim", "target", "measured", "spread", "runs", "by", "on", "when, commit")
    parts = []
    for met, title in (
        (False, "Targets that are missed"),
        (True, "Targets that are met"),
        (None, "Without a target"),
    ):
        parts += [f"## {title}", "", table(head, tables[met]), ""]
    parts += ["## Commands", "", *(f"* {short}: `{command}`" for command, short in commands.items()), ""]
    parts += ["## Machines", "", *(f"* {short}: {machine}" for machine, short in machines.items())]
    return "\n".join(parts)


PARTS = {
    "node": (DOCS / "configuration.md", node_configuration),
    "scenarios": (DOCS / "configuration.md", scenarios),
    "faults": (DOCS / "configuration.md", faults),
    "reactions": (DOCS / "architecture.md", reactions),
    "commands": (DOCS / "cli.md", command_line),
    "claims": (DOCS / "benchmarks.md", benchmarks),
}


def put(page: str, name: str, text: str) -> str:
    """`page` with the part `name` replaced by `text`."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


def pages() -> dict[Path, str]:
    """Each page with generated parts, as it should be."""
    found: dict[Path, str] = {}
    for name, (path, make) in PARTS.items():
        found[path] = put(found.get(path) or path.read_text("utf-8"), name, make())
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page is out of date")
    given = parser.parse_args(arguments)
    stale = [path for path, text in pages().items() if path.read_text("utf-8") != text]
    for path in stale:
        print(
            f"{path.relative_to(ROOT)} {'is out of date: run scripts/docs.py' if given.check else 'written'}"
        )
        if not given.check:
            path.write_text(pages()[path], "utf-8")
    return int(bool(stale) and given.check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

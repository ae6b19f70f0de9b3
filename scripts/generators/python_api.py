"""The Python API, from its docstrings and signatures."""

from __future__ import annotations

import inspect
import re
from typing import Any

PLAIN = {  # how types are written for readers
    "str | os.PathLike[str]": "str | Path",
    "Callable[[NodeEvent], None]": "Callable[[NodeEvent], None]",
}


def python_api() -> str:
    """Every public name with its signature and what it says of itself."""
    import muster
    from muster import aio, api
    from muster.node.api.rounds import schema

    parts: list[str] = []
    for name in ("train", "plan", "follow", "result"):
        parts += _function(f"muster.{name}", getattr(api, name), 2)
    parts += _function("muster.label", muster.label, 2)
    parts += _class("muster.Result", api.Result)
    parts += _class("muster.Round", schema.Round)
    parts += _class("muster.Part", schema.Part)
    parts += _class("muster.Callback", api.Callback)
    parts += _class("muster.Tracker", api.Tracker)
    for name in aio.__all__[::-1]:
        parts += _function(f"muster.aio.{name}", getattr(aio, name), 2)
    error = (muster.MusterError.__doc__ or "").strip()
    codes = "`code` is one of [errors.md](errors.md), `sentence` is for people."
    parts += ["## muster.MusterError", "", f"{error} {codes}", ""]
    return "\n".join(parts).strip()


def _function(name: str, function: Any, level: int) -> list[str]:
    return [f"{'#' * level} {name}", "", *_code(name.rpartition(".")[2], function), *_text(function), ""]


def _class(name: str, kind: type[Any]) -> list[str]:
    parts = [f"## {name}", "", *_text(kind), ""]
    notes = _fields(kind)
    if any(note for _, _, note in notes):
        parts += ["| field | type | |", "|---|---|---|"]
        cells = [(f"`{field}`", f"`{kind_}`", note) for field, kind_, note in notes]
        parts += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
        parts += [""]
    for key, member in vars(kind).items():
        if key.startswith("_"):
            continue
        if isinstance(member, property):
            assert member.fget is not None
            returns = inspect.signature(member.fget).return_annotation
            parts += [f"* `{key}: {returns}`: {' '.join(filter(None, _text(member.fget)))}"]
        elif inspect.isfunction(member):
            shown = inspect.signature(member)
            without = shown.replace(parameters=list(shown.parameters.values())[1:])
            parts += [f"* `{key}{_plain(str(without))}`: {' '.join(filter(None, _text(member)))}"]
    return [*parts, ""]


def _fields(kind: type[Any]) -> list[tuple[str, str, str]]:
    """(name, type, comment) of a struct's fields."""
    line = re.compile(r"    (\w+): ([^#=]+?)(?: = [^#]+?)?(?:  # (.*))?")
    found, above = list[tuple[str, str, str]](), list[str]()
    for text in inspect.getsource(kind).splitlines():
        if text.startswith("    # "):
            above.append(text[6:])
        elif (match := line.fullmatch(text)) is not None:
            found.append((match[1], match[2], " ".join([*above, *([match[3]] if match[3] else [])])))
            above = []
    return found


def _code(name: str, function: Any) -> list[str]:
    """The signature, an argument a line."""
    shown = inspect.signature(function)
    waits = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    kind = "async def" if waits else "def"
    lines, starred = [], False
    for parameter in shown.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            lines, starred = [*lines, "    *,"], True
        lines.append(f"    {_plain(str(parameter))},")
    returns = str(shown.return_annotation).strip("'")
    returns = re.sub(r"^(Async)?Generator\[(\w+), None.*", r"\1Iterator[\2]", returns)
    return ["```python", f"{kind} {name}(", *lines, f") -> {returns}", "```", ""]


def _plain(text: str) -> str:
    text = text.replace("'", "") if "= '" not in text else text
    for known, shown in PLAIN.items():
        text = text.replace(known, shown)
    return text


def _text(what: Any) -> list[str]:
    """The paragraphs of a docstring, an empty line between two."""
    paragraphs = inspect.cleandoc(what.__doc__ or "").split("\n\n")
    lines: list[str] = []
    for paragraph in paragraphs:
        lines += ["", " ".join(paragraph.split()).replace("docs/cli-json.md", "[cli-json.md](cli-json.md)")]
    return lines[1:]

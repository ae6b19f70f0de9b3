"""Keys of node.toml and of scenario files, from the structs that they are read into."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tokenize
from collections.abc import Iterable
from io import StringIO
from typing import get_args

import msgspec

from generators.markdown import table


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
        "tuple[str, ...]": "list of text",
        "tuple[int, ...]": "list of whole numbers", "list of lists of text": "list of lists of text",
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


def node_configuration() -> str:
    from muster.node import config

    limits: dict[str, dict[str, str]] = {}
    for section, name, low, high in config._LIMITS:
        limits.setdefault(section, {})[name] = f"{low:,} to {high:,.0f}"
    defaults = {"name": "the host's name", "home": "`~/.local/share/muster/NAME`"}
    own = (*config._SECTIONS, "tasks", "serve")
    parts = [key_table(config.NodeConfig, defaults=defaults, leave_out=own)]
    for section, kind in config._SECTIONS.items():
        parts += ["", f"### `[{section}]`", "", _whole(kind), ""]
        parts.append(key_table(kind, f"{section}.", limits.get(section)))
    return "\n".join(parts)


def serve_configuration() -> str:
    from muster.serving.settings import LIMITS, ServeConfig

    return key_table(ServeConfig, limits={name: f"{low:,g} to {high:,.0f}" for name, low, high in LIMITS})


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
        ("`nodes`", kind), ("`away` of a node", scenario.Away), ("link parameters", LinkParams),
        ("`burst` of a link", Burst),
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


def energy_presets() -> str:
    from muster.node.energy.presets import MACHINES, RADIOS

    machines = [
        (f"`{name}`", f"{m.idle_w:g}", f"{m.train_w(1):g}", f"{m.train_w(m.cores):g} ({m.cores})", m.source)
        for name, m in MACHINES.items()
    ]
    radios = [
        (f"`{name}`", f"{1e6 * r.sent_j_byte:g}", f"{1e6 * r.received_j_byte:g}", f"{r.exchange_j:g}",
         f"{r.tail_s:g}" if r.exchange_j else "-", r.source)
        for name, r in RADIOS.items()
    ]  # fmt: skip
    return "\n".join(
        (
            table(("`preset`", "idle W", "one thread W", "all cores W (threads)", "from"), machines),
            "",
            table(("`radio`", "sent uJ/byte", "received uJ/byte", "tail J", "in s", "from"), radios),
        )
    )

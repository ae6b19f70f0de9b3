"""Writes the page's TypeScript types, and the field tables of API and `--json`, from the structs.

    python scripts/row_types.py             write what differs
    python scripts/row_types.py --check     exit 1 when something differs

Sources: muster/node/api/rows/schema.py, muster/dashboard/page_messages.py, and commit_detail.py, snapshot.py,
client.py and rounds/schema.py in muster/node/api.
hatch_build.py calls it before the page is built.  It needs msgspec; where that is not installed (an isolated
build) the committed files are used, and a test holds that they are up to date.
"""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect as types

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from muster.dashboard import page_messages, presets  # noqa: E402
from muster.dashboard.http import requests  # noqa: E402
from muster.node.api import (  # noqa: E402
    client,
    commit_detail,
    field_view,
    label_view,
    plan_view,
    snapshot,
)
from muster.node.api.rounds import schema as round_schema  # noqa: E402
from muster.node.api.rows import schema  # noqa: E402
from muster.node.doctor import findings  # noqa: E402
from muster.node.service import install  # noqa: E402

TYPES = ROOT / "src/muster/dashboard/web/src/types"
DOCS = ROOT / "docs"
ENTRIES = (
    page_messages.State,
    page_messages.Patch,
    page_messages.Tick,
    commit_detail.CommitDetail,
    commit_detail.DiffView,
    label_view.ToLabel,
)
ROWS_OF_JOBS = (schema.JobRow, schema.RoundRow, schema.CommitRow, schema.ContributionRow)
PRINTED = (
    client.LogView,
    client.Exported,
    round_schema.Round,
)  # what --json is made of
PRINTED_OF_NODES = (
    snapshot.SelfView,
    snapshot.PeerView,
    snapshot.NeighbourView,
    snapshot.SharedView,
    plan_view.PlanView,
    field_view.FieldView,
    field_view.MovedView,
    field_view.AskedView,
)
PRINTED_OF_RUNNING = (findings.Finding, install.ServiceState)
MODULES = (
    page_messages,
    presets,
    requests,
    schema,
    client,
    round_schema,
    snapshot,
    commit_detail,
    label_view,
    plan_view,
    field_view,
    findings,
    install,
)  # in the order of the pages
SHARED = (snapshot.BudgetView, snapshot.PowerView, snapshot.ValuesView)  # by rows and by what --json prints
MADE = "Made by scripts/row_types.py: change the structs."
ROWS_HEAD = f"""# The rows of the page's tables, field by field

{MADE} They stand in `muster/node/api/rows/schema.py`. What `_t`, ids and null mean:
[api.md](api.md). Rows of jobs: [api-rows-jobs.md](api-rows-jobs.md). What stands around the rows:
[api-messages.md](api-messages.md).
"""
ROWS_OF_JOBS_HEAD = f"""# The rows of jobs, field by field

{MADE} They stand in `muster/node/api/rows/schema.py`. All other rows: [api-rows.md](api-rows.md).
"""
MESSAGES_HEAD = f"""# The page's messages, field by field

{MADE} They stand in `muster/dashboard/page_messages.py`,
`muster/node/api/commit_detail.py` and `label_view.py` beside it. How they are sent: [api.md](api.md).
Rows: [api-rows.md](api-rows.md).
"""
PRINTED_HEAD = f"""# What `--json` prints, field by field

{MADE} Each command prints one JSON value; a failure prints `{{"error": ...}}` ([errors.md](errors.md)).
It is public API: fields may be added within a version, and what is there keeps its name and meaning.
Names end in their unit, shares and accuracies are 0..1, `_s` are ages or spans in seconds, ids are hex, null
means not known.

| command | value |
|---|---|
| `muster nodes --json`, `muster tasks --json` | [cli-json-nodes.md](cli-json-nodes.md), with `SentView` |
| `muster doctor --json`, `muster service status --json` | [cli-json-running.md](cli-json-running.md) |
| `muster shared --json` | `{{"shared": SharedView[]}}` there |
| `muster field --json` | `{{"field": FieldView[]}}` there, with `ServerView` |
| `muster use`, `muster rollback`, `muster adapt`, with `--json` | `MovedView` there; of `adapt` `AskedView` |
| `muster plan TASK --json` | `PlanView` there |
| `muster task check FILE --json` | the fields of `TaskReport` in `node/trainer/task_check.py`, and `good` |
| `muster jobs --json` | `JobSnapshot[]` |
| `muster log JOB --json` | `LogView`; `why`, `rounds` and `errors` with `--why`, `links` with `--bytes` |
| `muster train TASK --json` | `JobSnapshot` at the end; with `--detach` `{{"job"}}` |
| `muster track JOB --to PLACE --json` | `{{"job", "state", "to": {{PLACE: {{"round", "written"}}}}}}` |
| `muster export JOB --to FILE --json` | `Exported` |
| `muster stop JOB --json` | `{{"job", "stopped"}}` |
| `muster show COMMIT --json` | `CommitDetail` in [api-messages.md](api-messages.md) |
| `muster diff A B --json` | `DiffView` there |
| `muster demo --report FILE` | [report.md](report.md) |
"""
PRINTED_OF_NODES_HEAD = f"""# What `--json` prints of nodes, field by field

{MADE} What holds of all of `--json`: [cli-json.md](cli-json.md).

| command | value |
|---|---|
| `muster nodes --json` | `{{"node": SelfView, "neighbours": NeighbourView[], "peers": PeerView[]}}` |
| `muster task list --json`, `muster tasks --json` | `TaskView[]` |
| `muster plan TASK --json`, `muster train TASK --dry-run --json` | `PlanView` |
"""

PRINTED_OF_RUNNING_HEAD = f"""# What `--json` prints of a node's machine, field by field

{MADE} What holds of all of `--json`: [cli-json.md](cli-json.md).

| command | value |
|---|---|
| `muster doctor --json` | `{{"findings": Finding[]}}`; it ends with the code of the first failure |
| `muster service status --json` | `ServiceState[]` |
"""


def structs(entries: Iterable[type[msgspec.Struct]] = ENTRIES) -> list[type[msgspec.Struct]]:
    """Every struct that an entry leads to, in the order of the modules and their lines."""
    found: set[type[msgspec.Struct]] = set()
    rest: list[Any] = list(types.multi_type_info(tuple(entries)))
    while rest:
        kind = rest.pop()
        if isinstance(kind, types.StructType) and kind.cls not in found:
            found.add(kind.cls)
        elif isinstance(kind, types.StructType):
            continue
        rest += list(_inside(kind))
    assert {struct.__module__ for struct in found} <= {module.__name__ for module in MODULES}
    return [struct for module in MODULES for struct in _defined(module) if struct in found]


def _inside(kind: types.Type) -> Iterator[types.Type]:
    if isinstance(kind, types.StructType):
        yield from (field.type for field in kind.fields)
    elif isinstance(kind, types.UnionType):
        yield from kind.types
    elif isinstance(kind, types.CollectionType):
        yield kind.item_type
    elif isinstance(kind, types.DictType):
        yield from (kind.key_type, kind.value_type)


def _defined(module: ModuleType) -> list[type[msgspec.Struct]]:
    values = [value for value in vars(module).values() if inspect.isclass(value)]
    return [v for v in values if issubclass(v, msgspec.Struct) and v.__module__ == module.__name__]


class Field(NamedTuple):
    name: str
    type: str
    optional: bool
    note: str


def fields(struct: type[msgspec.Struct]) -> list[Field]:
    """The fields and the comments at them: on the same line, or on lines of their own just above."""
    notes: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(struct).splitlines():
        text = line.strip()
        if text.startswith("# "):
            above.append(text[2:])
            continue
        if (match := re.match(r"(\w+): [^#]*(?:# (.*))?$", text)) is not None:
            note = " ".join([*above, *([match[2]] if match[2] else [])])
            notes[match[1]] = re.sub(r"\bNone\b", "null", note)
        above = []
    kind = types.type_info(struct)
    assert isinstance(kind, types.StructType)
    defaults = {field.name: field.default for field in msgspec.structs.fields(struct)}
    return [
        Field(f.encode_name, _type(f.type), defaults[f.name] is msgspec.UNSET, notes[f.name])
        for f in kind.fields
    ]


def _type(kind: types.Type) -> str:
    """A type in TypeScript's words."""
    match kind:
        case types.StrType():
            return "string"
        case types.IntType() | types.FloatType():
            return "number"
        case types.BoolType():
            return "boolean"
        case types.NoneType():
            return "null"
        case types.AnyType():
            return "unknown"
        case types.LiteralType(values):
            return " | ".join(f'"{value}"' for value in values)
        case types.StructType(cls):
            return str(cls.__name__)
        case types.ListType(item_type=item) | types.VarTupleType(item_type=item):
            inner = _type(item)
            return f"({inner})[]" if " | " in inner else f"{inner}[]"
        case types.DictType(_, value):
            return f"Record<string, {_type(value)}>"
        case types.UnionType(parts):
            named = [part for part in parts if not isinstance(part, types.NoneType)]
            names = dict.fromkeys(_type(part) for part in named)  # int and float are one
            return " | ".join([*names, *(["null"] if len(named) < len(parts) else [])])
    raise TypeError(f"{kind} has no counterpart in TypeScript")


def _one_line(struct: type[msgspec.Struct]) -> str:
    return re.sub(r"\bNone\b", "null", " ".join((struct.__doc__ or "").split()))


def typescript(head: str, chosen: Iterable[type[msgspec.Struct]]) -> str:
    blocks = [f"/** {head} {MADE} */\n"]
    for struct in chosen:
        lines = [f"/** {_one_line(struct)} */", f"export interface {struct.__name__} {{"]
        for name, kind, optional, note in fields(struct):
            lines.append(f"  {name}{'?' if optional else ''}: {kind};{f' // {note}' if note else ''}")
        blocks.append("\n".join([*lines, "}"]) + "\n")
    return "\n".join(blocks)


def markdown(head: str, chosen: Iterable[type[msgspec.Struct]]) -> str:
    """A table for each struct; neighbouring fields of one type that need no comment share a line."""
    blocks = [head]
    for struct in chosen:
        lines = [f"## {struct.__name__}\n", _row("field", "type", _one_line(struct)), "|---|---|---|"]
        for (kind, optional, note), group in itertools.groupby(fields(struct), key=lambda f: f[1:]):
            names = ", ".join(f"`{field.name}`" for field in group)
            lines.append(_row(names, f"{kind}{' (may be absent)' if optional else ''}", note))
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def made() -> dict[Path, str]:
    """The content of every file that is made here."""
    every = structs()
    rows = [s for s in every if s.__module__ == schema.__name__ or s in SHARED]
    of_jobs = [s for s in rows if s in structs(ROWS_OF_JOBS)]
    rest = [struct for struct in every if struct not in rows]
    body = typescript("What the page's server sends around the rows (docs/api-messages.md).", rest)
    head, _, body = body.partition("\n")
    used = sorted(r.__name__ for r in rows if re.search(rf"\b{r.__name__}\b", body))
    imports = f'import type {{ {", ".join(used)} }} from "./rows";'
    of_nodes = structs(PRINTED_OF_NODES)
    return {
        TYPES / "rows.ts": typescript("The rows of the page's tables (docs/api-rows.md).", rows),
        TYPES / "messages.ts": f"{head}\n\n{imports}\n{body}",
        DOCS / "api-rows.md": markdown(ROWS_HEAD, [s for s in rows if s not in of_jobs]),
        DOCS / "api-rows-jobs.md": markdown(ROWS_OF_JOBS_HEAD, of_jobs),
        DOCS / "api-messages.md": markdown(MESSAGES_HEAD, rest),
        DOCS / "cli-json.md": markdown(PRINTED_HEAD, [s for s in structs(PRINTED) if s not in of_nodes]),
        DOCS / "cli-json-running.md": markdown(PRINTED_OF_RUNNING_HEAD, structs(PRINTED_OF_RUNNING)),
        DOCS / "cli-json-nodes.md": markdown(PRINTED_OF_NODES_HEAD, of_nodes),
    }


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    stale = {path: text for path, text in made().items() if path.parent.is_dir() and _read(path) != text}
    for path, text in stale.items():
        print(f"{path.relative_to(ROOT)} {'differs from' if check else 'made from'} the structs")
        if not check:
            path.write_text(text, "utf-8")
    return 1 if stale and check else 0


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

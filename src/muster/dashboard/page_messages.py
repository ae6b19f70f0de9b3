"""What the page's server says around the rows: the header, the whole state, and the events of the stream.

With `muster.node.api.rows.schema` the only definition of these fields: the page's TypeScript types and
docs/api-rows.md are generated from both (scripts/row_types.py).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from muster.dashboard.presets import Preset
from muster.node.api.rows.schema import (
    CommitRow,
    ContributionRow,
    FieldRow,
    JobRow,
    LinkRow,
    LogLine,
    MarkRow,
    NodeRow,
    RoundRow,
)

API = 1


class ViewSource(msgspec.Struct, frozen=True):
    """How the node that is looked at answers. Unless `live`, all rows are as they were at `fresh_t`."""

    state: Literal["live", "silent", "lost"]  # silent: it is there but has not answered for 3 s
    since_t: float  # when that began
    fresh_t: float  # when the newest data came from the node; patches and ticks say it again
    reason: str  # a sentence for people; "" while live


class Header(msgspec.Struct, frozen=True):
    """About the view itself."""

    api: int  # version of this interface
    version: str  # of Muster
    boot: str  # of this server; event ids begin with it
    epoch_s: float  # Unix time at t = 0
    view: str | None  # the node whose view this is
    title: str
    emulated: bool
    role: Literal["operator", "viewer"]  # the reader's own
    source: ViewSource
    job: str | None  # to show first: the newest that runs, else the newest
    tasks: list[str]  # installed on the viewing node
    presets: list[Preset]  # of links; empty outside an emulation


class State(msgspec.Struct, frozen=True):
    """`GET /api/state`, and the event `snapshot`: everything. Tables map an id to a row."""

    t: float  # now, on the feed clock
    id: str  # of the last event that is included
    header: Header
    nodes: dict[str, NodeRow]
    links: dict[str, LinkRow]  # by "a|b"
    jobs: dict[str, JobRow]
    rounds: dict[str, RoundRow]  # by job
    commits: dict[str, CommitRow]
    contributions: dict[str, ContributionRow]  # by "job/node"
    field: dict[str, FieldRow]  # by "node/task"
    marks: dict[str, MarkRow]
    log: list[LogLine]


Changed = dict[str, dict[str, Any] | None]


class Patch(msgspec.Struct, frozen=True, omit_defaults=True):
    """The event `patch`: rows that changed: their changed fields, or all of a new one; None: it is gone."""

    t: float
    fresh_t: float
    header: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET  # fields that changed
    nodes: Changed | msgspec.UnsetType = msgspec.UNSET
    links: Changed | msgspec.UnsetType = msgspec.UNSET
    jobs: Changed | msgspec.UnsetType = msgspec.UNSET
    rounds: Changed | msgspec.UnsetType = msgspec.UNSET
    commits: Changed | msgspec.UnsetType = msgspec.UNSET
    contributions: Changed | msgspec.UnsetType = msgspec.UNSET
    field: Changed | msgspec.UnsetType = msgspec.UNSET
    marks: Changed | msgspec.UnsetType = msgspec.UNSET
    log: list[LogLine] | msgspec.UnsetType = msgspec.UNSET  # new lines, to append


class Tick(msgspec.Struct, frozen=True):
    """The event `tick`: sent when nothing else was for a second."""

    t: float
    fresh_t: float

"""What a node shows of the models that are in use, its own and those of other nodes: the answers to `field`,
`use`, `rollback` and `adapt`. Times are ages, as in `snapshot`."""

from __future__ import annotations

import msgspec


class ServerView(msgspec.Struct, frozen=True):
    """The server of a task on the node that answers, by what it said last."""

    url: str
    requests: int  # answered since it began
    failures: int  # answered with an error of the server or the model
    refused: int  # too many at once
    rps: float  # requests a second
    p99_ms: float | None
    memory_mb: float
    kept: int  # samples since it began
    fault: str  # why the model in use does not answer, or why no samples are kept; "": all is well


class FieldView(msgspec.Struct, frozen=True):
    """A task in use on one node, by what the node that answers knows of it."""

    id: str  # of the node, hex
    node: str  # its name
    task: str
    me: bool  # the node that answers
    version: str | None  # of the model in use; None: none is
    commit: str  # hex; "": a model that is no commit, such as a file, or a fine-tuned one
    reason: str  # first, adopted, forced, returned or rolled back
    used_s: float | None  # seconds since it went into use; None: that was said before this process began
    former: str | None  # what was in use before; of the answering node: answers labels in its shadow
    live_labels: int  # that came since
    live_right: int  # of them
    held_labels: int  # held out; on which it was compared with the model before it
    wins: int  # of them: right by this model alone
    losses: int  # by the former one alone
    epoch: int | None  # conditions by their number, 0 at first; of others by their need; None: not known
    labels: int | None  # of this epoch; None: not known of others
    labels_wanted: int  # more, which would change something
    need: str  # "": none, "open": the model fails there, "met": a model was found
    alike: list[str]  # other nodes with a like need that is open
    waits: str  # what the node waits for, as a sentence; "": nothing, or not known of others
    job: str | None  # the adapt job that it waits for
    server: ServerView | None  # of the answering node, while its server runs


class MovedView(msgspec.Struct, frozen=True):
    """A model that was put into use."""

    task: str
    version: str
    former: str | None
    said: str  # why, with figures


class AskedView(msgspec.Struct, frozen=True):
    """An adapt job that was asked for by hand."""

    task: str
    job: str
    alike: list[str]  # nodes in reach to which the same happened

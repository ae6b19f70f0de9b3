"""What a node keeps of a served task beside its pointer: what its models were made from, what was judged, and
what this node published. Small, in the store's state.
"""

from __future__ import annotations

import contextlib

import msgspec

from muster.node.field.situation import Judged
from muster.protocol.envelope import UNREADABLE
from muster.protocol.ids import CommitId, JobId
from muster.storage.store import Store

JUDGED_MAX = 32
MADE_MAX = 32
EXPECTED_LABELS = 20  # from which on a check says more of a model than its makers do


class Made(msgspec.Struct, frozen=True):
    """Where a model came from, and how it was checked here."""

    fingerprint: bytes  # of the task
    commit: CommitId = b""  # b"": it is none, such as a file or what was fine-tuned here
    job: JobId = b""
    accuracy: float | None = None  # as measured where it was made
    held: int = 0  # held-out labels on which it was compared
    right: int = 0  # of them
    wins: int = 0
    losses: int = 0

    def expected(self) -> float | None:
        """The accuracy that it is expected to have here."""
        return self.right / self.held if self.held >= EXPECTED_LABELS else self.accuracy


class Memory(msgspec.Struct):
    """Of one served task."""

    judged: list[Judged] = []  # newest last
    made: dict[str, Made] = {}  # by the SHA-256 of the model's file, newest last
    returned: list[CommitId] = []  # put out of use again, here or where conditions are alike
    need_s: float = 0.0  # when the newest need was published
    said_use: tuple[str, float, int] = (
        "",
        0.0,
        0,
    )  # version, since, live labels, as the newest own `Use` has them

    def judge(self, found: Judged) -> None:
        """Remember what became of a candidate."""
        self.judged = [*self.judged, found][-JUDGED_MAX:]

    def note_made(self, sha256: str, made: Made) -> None:
        """Remember where a model came from, before it goes into use."""
        others = {key: value for key, value in self.made.items() if key != sha256}
        self.made = dict([*others.items(), (sha256, made)][-MADE_MAX:])


def load(store: Store, task: str) -> Memory:
    """What is kept; empty at first, and where another version kept something else."""
    kept = store.state(_key(task))
    with contextlib.suppress(*UNREADABLE):
        return msgspec.msgpack.decode(kept or b"", type=Memory)
    return Memory()


def keep(store: Store, task: str, memory: Memory) -> None:
    """Durable when this returns. Raises StorageError."""
    store.set_state(_key(task), msgspec.msgpack.encode(memory))


def _key(task: str) -> str:
    return f"field {task}"

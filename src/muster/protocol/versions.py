"""The version of the vocabulary, and which version a record needs to be acted on.

A record says in its envelope the least version that must understand it.  A node acts on a record that needs
no later version than its own; any other it verifies, keeps and passes on as it is (`Unknown`).
docs/protocol.md says how a field or a kind is added, and when a record needs more.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

from muster.protocol.ids import JobId
from muster.protocol.records import Record

VERSION = 1  # of all that this node acts on
NEEDS_MAX = 0xFFFF


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """A record of a later version: its bytes are kept and passed on, nothing is done about what it says.

    `job`: its first field where that is 32 bytes, so that it is kept, deferred and forgotten with its job.
    """

    KIND: ClassVar[str] = "unknown"
    tag: int
    needs: int
    job: JobId


Received: TypeAlias = Record | Unknown


def needs(record: Record) -> int:
    """The least version that must understand a record to act on it.

    A field without which it would mean something else raises this where it is not its default."""
    return record.NEEDS

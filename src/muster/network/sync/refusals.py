"""Counts the records that a node does not take, by their authors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from muster.network.sync.messages import PREFIX_BYTES
from muster.protocol.ids import NodeId

REFUSED_IDS_MAX = 4096
REFUSED_AUTHORS_MAX = 512  # that are counted each by itself
REASONS_MAX = 32  # that are named of one author
_DIGITS = re.compile(r"[0-9]+")


@dataclass
class Refusals:
    """What was dropped, for the status page, and which records are not to be asked for again."""

    invalid: int = 0
    unknown_author: int = 0
    last: str = ""
    by_author: dict[NodeId, int] = field(default_factory=dict)  # records beyond their limits
    ids: dict[bytes, None] = field(default_factory=dict)  # the first bytes of the last of them
    _named: set[tuple[NodeId, str]] = field(default_factory=set)

    def add(self, prefix: bytes) -> None:
        """Remember the beginning of the id of a record that was refused for what it says."""
        self.ids[prefix[:PREFIX_BYTES]] = None
        while len(self.ids) > REFUSED_IDS_MAX:
            del self.ids[next(iter(self.ids))]

    def count(self, author: NodeId, reason: str) -> bool:
        """Count a record of `author`; whether this is to be named: once for each author and reason."""
        self.invalid += 1
        self.last = reason
        if author in self.by_author or len(self.by_author) < REFUSED_AUTHORS_MAX:
            self.by_author[author] = self.by_author.get(author, 0) + 1
        kind = author, _DIGITS.sub("#", reason)
        if kind in self._named or sum(known == author for known, _ in self._named) >= REASONS_MAX:
            return False
        self._named.add(kind)
        return True

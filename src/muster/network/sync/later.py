"""What nodes of later versions send that this one cannot act on: counted, and said of each in a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from muster.protocol.ids import JobId, NodeId
from muster.protocol.versions import Unknown

KINDS_SHOWN = 4
AUTHORS_MAX = 512  # that are counted each by itself
JOBS_MAX = 512


@dataclass
class _Sent:
    needs: int = 0
    kinds: Counter[int] = field(default_factory=Counter)


@dataclass
class LaterRecords:
    """Records that need a later version than `version`, by author."""

    version: int
    name_of: Callable[[NodeId], str]
    _sent: dict[NodeId, _Sent] = field(default_factory=dict)
    _jobs: dict[JobId, dict[NodeId, None]] = field(default_factory=dict)

    def note(self, author: NodeId, record: Unknown) -> bool:
        """Count a record that is kept; whether its author is to be named: nothing was said of it before, or
        it needs a later version than all others."""
        if author not in self._sent and len(self._sent) >= AUTHORS_MAX:
            return False
        sent = self._sent.setdefault(author, _Sent())
        news = record.needs > sent.needs
        sent.needs = max(sent.needs, record.needs)
        sent.kinds[record.tag] += 1
        if record.job and (record.job in self._jobs or len(self._jobs) < JOBS_MAX):
            self._jobs.setdefault(record.job, {})[author] = None
        return news

    def authors(self, job: JobId) -> list[NodeId]:
        """Who made such records of a job."""
        return list(self._jobs.get(job, ()))

    def sentence(self, author: NodeId, *, counted: bool = True) -> str:
        """What cannot be acted on, and what to do; "": nothing was sent that cannot. Not `counted`: the same
        for each further record."""
        sent = self._sent.get(author)
        if sent is None:
            return ""
        kinds = ", ".join(f"kind {tag}" for tag in sorted(sent.kinds)[:KINDS_SHOWN])
        more = len(sent.kinds) - KINDS_SHOWN
        kinds += f" and {more} more kinds" if more > 0 else ""
        needed = max(sent.needs, self.version + 1)
        count = f", {sent.kinds.total()} so far" if counted else ""
        what = f"records of version {needed} ({kinds}{count})"
        name = self.name_of(author)
        return f"{name} sends {what}; this node acts on version {self.version}: update muster"

"""Planted bugs of trust that is taken back."""

from __future__ import annotations

from typing import Any

from planting import Patch, bug

from muster.job.standing import Standing
from muster.network.sync.ledger import Ledger


@bug("records of a revoked member are refused, also those on which others built")
def refused_late() -> list[Patch]:
    def late_fault(self: Ledger, record_id: bytes, record: Any, author: bytes, wire: bytes) -> str | None:
        return "its author was revoked" if self.trust.revoked(author) else None

    return [(Ledger, "_late_fault", late_fault)]


@bug("a commit of a revoked member counts only if it came before what was built on it")
def built_on_forgotten() -> list[Patch]:
    def build_on(self: Standing, commits: Any) -> list[Any]:
        found, stack = [], list(commits)
        while stack:
            entry = self._aside.pop(stack.pop(), None)
            if entry is not None:
                found.append(entry)
                stack += entry.record.parents  # type: ignore[union-attr]
        return found

    return [(Standing, "_build_on", build_on)]

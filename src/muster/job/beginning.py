"""Ends a job on this node whose first model nobody will have.

Nobody can know that of others: stores carry records and models over days.  So a job is given up here alone,
with its reason, and goes on as soon as a model of it is held after all.
"""

from __future__ import annotations

import msgspec

from muster.job.context import Context
from muster.job.models.store import ModelStore
from muster.job.view import JobView
from muster.protocol.ids import JobId

KEEP_S = 7 * 86_400.0  # that this node is up and waits for the first model of a job
REVOKED_S = 60.0  # the same where the asker was revoked: who is to have its model has it by now
LOST_S = 600.0  # the same where the asker is this node, whose disk was lost
LOOKED_MAX_S = 60.0  # between two looks; a longer time is a stall
KEPT_EVERY_S = 600.0  # how long was waited, for the next process


class Beginning:
    """Waits for the first model of one job, and gives the job up when that is in vain."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self._key = _key(view.id)
        kept = context.store.state(self._key)
        self._waited_s = self._kept_s = msgspec.msgpack.decode(kept, type=float) if kept else 0.0
        self._looked_s = context.now()

    def look(self) -> None:
        """Call it every few seconds."""
        now_s, view = self._context.now(), self._view
        passed_s, self._looked_s = min(LOOKED_MAX_S, now_s - self._looked_s), now_s
        if self._models.heads():
            view.given_up = None
            return
        self._waited_s += passed_s
        if self._waited_s - self._kept_s >= KEPT_EVERY_S:
            self._kept_s = self._waited_s
            self._context.store.note_state(self._key, msgspec.msgpack.encode(self._waited_s))
        if view.stopped is None and view.given_up is None and (reason := self._in_vain()) is not None:
            view.given_up = reason
            self._context.event("end", f"the job is given up here: {reason}", job=view.id)
            self._context.changes.notify()

    def _in_vain(self) -> str | None:
        """Why nobody will have the first model, or None."""
        asker, trust = self._view.asker, self._context.ledger.trust
        if trust.revoked(asker) and self._waited_s >= REVOKED_S:
            return f"{trust.name(asker)}, which asked for it, was revoked, and its first model is not here"
        if asker == self._context.node and self._waited_s >= LOST_S:
            return "its first model was lost with this node's disk: ask for it again"
        if self._waited_s >= KEEP_S:
            return f"in {KEEP_S / 86_400:.0f} days its first model did not come from {trust.name(asker)}"
        return None


def _key(job: JobId) -> str:
    return "beginning/" + job.hex()

"""A node's answer to a job's call for help: whether it takes part, and if not, why."""

from __future__ import annotations

import contextlib

import msgspec

from muster.job.adapting.joining import why_not_concerned
from muster.job.context import Context
from muster.job.view import JobView
from muster.protocol.records import Offer, Refusal
from muster.protocol.validation.limits import clean
from muster.storage.store import StorageError

BATTERY_MORE = 0.05  # than the policy's least, before a node that refused takes part


class Answer:
    """Decides by the node's policy whether it takes part in a job, and keeps its answer on record."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self._last: Offer | Refusal | None = None  # as this process gave it
        self.refused: str | None = None  # why this node takes no part in the job, as it is now

    def never(self) -> str | None:
        """Why this node's policy is not to take part, as long as its process runs; None: it may."""
        policy, task = self._context.policy, self._view.job.task
        if self._context.presence.cloned:
            return "another process uses this node's bundle and started later"
        if self._view.standing.out(self._context.node):
            return "this node's bundle was revoked by the fleet's owner"
        if not self._own and not policy.accept:
            return "this node's policy is to take part in nobody's job"
        if self._view.job.like and not self._own and not policy.adapt:
            return "this node's policy is to take part in no job that adapts a model"
        if policy.tasks is not None and task not in policy.tasks:
            return f"this node's policy does not allow the task {task!r}"
        if not self._context.installed(task):
            return f"the task {task!r} is not installed on this node"
        return None

    def not_now(self) -> str | None:
        """Why this node takes no part for a while; None: it may."""
        if (reason := self._not_concerned()) is not None:
            return reason
        policy = self._context.policy
        battery, least = self._context.battery(), policy.battery_min
        if battery is not None and battery < least + (BATTERY_MORE if self.refused else 0.0):
            return f"the battery is below the policy's {policy.battery_min:.0%}"
        return self.given_enough()

    def unwilling(self) -> str | None:
        """Why this node takes no part now; None: it does."""
        return self.never() or self.not_now()

    def given_enough(self) -> str | None:
        """Why this node's owner lets others use no more of it for now; None: more, or the job is its own."""
        return None if self._own else self._context.allowance.why_not()

    def over_for_now(self) -> str | None:
        """Why this node does no more work for the job as things are now: what the job is for is no concern of
        its own, or it has given enough. The former comes first, as it may end the job for all."""
        return self._not_concerned() or self.given_enough()

    def _not_concerned(self) -> str | None:
        job, node = self._view.job, self._context.node
        if not job.like:
            return None
        need = self._context.field.need(node, job.task)
        takes_part = isinstance(self._view.last_answer(node), Offer)
        if takes_part and need is not None and need.over and self._ended():
            return None  # what met it: what comes late of the job's end comes here, too
        return why_not_concerned(job, need, takes_part=takes_part)

    def _ended(self) -> bool:
        heads = self._view.graph.heads(lambda _: True)
        return any(self._view.finished(head) is not None for head in heads)

    @property
    def _own(self) -> bool:
        return self._view.asker == self._context.node

    def refuse(self, reason: str, kind: str = "error") -> None:
        """Publish that this node takes no part; `kind` is the event's."""
        reason = clean(reason)
        self.refused = reason
        if self._view.standing.out(self._context.node):  # it has no say, or another process has
            self._context.event(kind, f"takes no part: {reason}", job=self._view.id)
            return
        if self._view.refusals.get(self._context.node) != reason:
            with contextlib.suppress(StorageError):  # published again after the next start
                number = self._view.next_number(self._context.node)
                self._context.ledger.publish(
                    Refusal(self._view.id, self._context.store.incarnation, number, reason)
                )
        self.remember()
        self._context.event(kind, f"takes no part: {reason}", job=self._view.id)

    def pass_round(self, reason: str, first: int, last: int) -> None:
        """Publish that this node takes no part in the rounds `first` to `last`: after them it may be asked
        again."""
        reason = clean(reason)
        with contextlib.suppress(StorageError):  # then the round waits for this node until it is late
            number = self._view.next_number(self._context.node)
            self._context.ledger.publish(
                Refusal(self._view.id, self._context.store.incarnation, number, reason, last)
            )
        self.remember()
        self._context.event("error", f"takes no part in round {first}: {reason}", job=self._view.id)

    def offered(self) -> None:
        """This node takes part after all."""
        self.refused = None
        self.remember()

    def remember(self) -> None:
        """Note the answer that is on record now as this process's own."""
        self._last = self._view.last_answer(self._context.node)

    def supersede_old(self) -> None:
        """Publish the answer again if one from before a lost disk came back from others and looks newer."""
        last = self._view.last_answer(self._context.node)
        if self._last is None or last is None:
            return
        if last.incarnation == self._last.incarnation:
            self._last = last
            return
        with contextlib.suppress(StorageError):
            self._last = msgspec.structs.replace(
                self._last, number=self._view.next_number(self._context.node)
            )
            self._context.ledger.publish(self._last)

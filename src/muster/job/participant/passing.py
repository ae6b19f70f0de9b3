"""Rounds in which this node takes no part because its task failed in them, and when it tries again.

What failed in one round may do well in the next: other samples, another model, data that somebody corrected.
So a fault of the task refuses a round, never the job.  One that fails again and again skips more and more
rounds; where no other node brings the next round, it offers again after a while.
"""

from __future__ import annotations

from muster.job.context import Context
from muster.job.participant.answer import Answer
from muster.job.view import JobView

EACH_MAX = 3  # failures in a row after which rounds are skipped
SKIPPED_MAX = 15  # rounds after one that failed
RETRY_S = 60.0  # after a failure, where nobody brings the next round; twice as long each time,
RETRY_MAX_S = 960.0  # but no longer than this
REST_SHARE = 0.1  # of that time, before a trainer is opened again: that takes seconds of computing


def skipped(failures: int) -> int:
    """How many rounds are left out after the one that failed, after so many failures in a row."""
    return min(SKIPPED_MAX, (1 << max(0, min(failures, 16) - EACH_MAX)) - 1)


def retry_s(failures: int) -> float:
    """Seconds until a node tries again in the same round, after so many failures in a row."""
    return min(RETRY_MAX_S, RETRY_S * 2.0 ** (min(failures, 16) - 1))


class Passing:
    """Counts the failures of one job's trainer in a row, and publishes which rounds are left out."""

    def __init__(self, context: Context, view: JobView, answer: Answer) -> None:
        self._context, self._view, self._answer = context, view, answer
        self._failures = 0
        self._retry_s: float | None = None  # the loop time at which to offer again

    def failed(self, round_: int, reason: str) -> None:
        """The task failed in a round."""
        self._failures += 1
        self._retry_s = self._context.now() + retry_s(self._failures)
        self._answer.pass_round(reason, round_, round_ + skipped(self._failures))

    def trained(self) -> None:
        """The task did its part of a round."""
        self._failures, self._retry_s = 0, None

    def offered(self) -> None:
        """This node can be asked again."""
        self._retry_s = None

    def over_for_now(self) -> bool:
        """Whether this node begins no more work for the job as things are now (`Answer.over_for_now`)."""
        return self._answer.over_for_now() is not None

    def wait_s(self) -> float | None:
        """Seconds until this node should offer again, as its round goes on and on; None: it need not."""
        if self._retry_s is None or self._view.why_not(self._context.node, self._view.round_now()) is None:
            return None
        return max(0.0, self._retry_s - self._context.now())


class Retry:
    """Says when a trainer that could not be opened, or was lost, is tried again: with the next round, but not
    sooner than after a rest, and after a while in any case."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self._failures = 0
        self._round = 0  # that was going on at the last failure
        self._rested_s = self._at_s = 0.0

    def failed(self) -> None:
        self._failures += 1
        now_s, self._round = self._context.now(), self._view.round_now()
        self._rested_s = now_s + REST_SHARE * retry_s(self._failures)
        self._at_s = now_s + retry_s(self._failures)

    def due(self) -> bool:
        return self.wait_s() is None

    def wait_s(self) -> float | None:
        """Seconds until it is due if no round begins before; None: it is."""
        if self._failures == 0:
            return None
        now_s, next_round = self._context.now(), self._view.round_now() > self._round
        at_s = self._rested_s if next_round else self._at_s
        return None if now_s >= at_s else at_s - now_s

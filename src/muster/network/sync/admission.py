"""Decides whether a record may be kept: by its own fields, and by its parent's where the parent is kept here.

A commit whose parent is not known yet is kept, and compared with it when it becomes known (`history/graph`).
So is one of a job that is not in memory; and a job's first commit, which must be its asker's, when the job
comes later (`job/view`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from muster.history.succession import Before, succession_fault
from muster.protocol.ids import CommitId, JobId, NodeId, RecordId
from muster.protocol.records import Commit, Job, Plan, Record, Update
from muster.protocol.versions import Received, Unknown
from muster.protocol.vocabulary import CURRENT, Vocabulary

RULES = 3  # grows when `fault` refuses more than before: what is kept is checked again then
NOT_THE_ASKERS = "a job's first commit is made by its asker"
COMMITS_AT_HAND = 64
MESSAGE_BYTES_BESIDE = 64 * 1024  # an encoded update has at most twice the model's bytes, and these


class InvalidRecord(ValueError):
    """A record that this node made is beyond its limits: a fault in Muster."""


class Admission:
    """Compares records with those that a node keeps; `find(id)` is one of them, or None; `asker_of(job)` who
    made a job that is kept; `history_fault` one sentence of what is wrong with a commit by all before it."""

    def __init__(
        self,
        find: Callable[[RecordId], Received | None],
        asker_of: Callable[[JobId], NodeId | None] = lambda job: None,
        vocabulary: Vocabulary = CURRENT,
        history_fault: Callable[[Commit, NodeId], str | None] = lambda commit, author: None,
    ) -> None:
        self._find, self._asker_of, self._vocabulary = find, asker_of, vocabulary
        self._history_fault = history_fault
        self._commits: OrderedDict[CommitId, Commit] = OrderedDict()

    def fault(self, record: Received, author: NodeId) -> str | None:
        """One sentence about what is wrong with a record of this author, or None."""
        if isinstance(record, Unknown):
            return None
        wrong = self._vocabulary.fault(record)
        if wrong is None and (wrong := self._against_base(record, author)) is not None:
            wrong = f"this {record.KIND} record cannot be used: {wrong}"
        return wrong

    def _against_base(self, record: Record, author: NodeId) -> str | None:
        if isinstance(record, Commit) and not record.parents:
            return None if self._asker_of(record.job) in (None, author) else NOT_THE_ASKERS
        if isinstance(record, Commit):
            if (wrong := self._history_fault(record, author)) is not None:
                return wrong
            base = self._commit(record.parents[0])
        elif isinstance(record, Update):
            base = self._commit(record.base)
        elif isinstance(record, Plan):
            base = self._commit(record.parent)
        else:
            return None
        if base is None:
            return None
        if record.job != base.job:
            return "the commit that it is made on is of another job"
        if isinstance(record, Commit):
            payload, wrong = record.delta, succession_fault(record, Before.of(base))
        elif isinstance(record, Update):
            payload = record.payload
            wrong = _other_round(record.base_round, base.round)
        else:
            payload = None
            wrong = _other_round(record.round - 1, base.round) or self._without_samples(record)
        most_bytes = 2 * base.params_bytes + MESSAGE_BYTES_BESIDE
        if wrong is None and payload is not None and payload.size_bytes > most_bytes:
            wrong = f"its tensors have {payload.size_bytes} bytes, the model {base.params_bytes}"
        return wrong

    def _without_samples(self, plan: Plan) -> str | None:
        """A participant would wait for samples that nobody of the job shares."""
        job = self._find(plan.job) if any(a.data for a in plan.assignments) else None
        if isinstance(job, Job) and job.share == "none" and not job.one_shot:
            return "it assigns shared samples, and none are shared in its job"
        return None

    def _commit(self, commit_id: CommitId) -> Commit | None:
        """A commit that is kept here."""
        known = self._commits.get(commit_id)
        if known is not None:
            self._commits.move_to_end(commit_id)
            return known
        found = self._find(commit_id)
        if not isinstance(found, Commit):
            return None
        self._commits[commit_id] = found
        if len(self._commits) > COMMITS_AT_HAND:
            self._commits.popitem(last=False)
        return found


def _other_round(said: int, true: int) -> str | None:
    return None if said == true else f"it is made on round {true} and says {said}"

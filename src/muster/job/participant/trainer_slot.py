"""The node's one trainer, leased to one job at a time: one that does not move gives it to one that waits."""

from __future__ import annotations

from muster.protocol.ids import JobId

LEASE_S = 60.0  # without any motion in its job: the trainer goes to another job, if one waits for it


class TrainerSlot:
    """Says which job has the trainer. Jobs ask again at every change until they have it."""

    def __init__(self) -> None:
        self._holder: JobId | None = None
        self._waiting: dict[JobId, bool] = {}  # in the order of their coming; whether the job has work to do

    @property
    def wanted(self) -> bool:
        """Whether a job waits that has work to do."""
        return any(self._waiting.values())

    def ask(self, job: JobId, *, urgent: bool) -> bool:
        """Whether the job has the trainer from now on; else it stands in line, and keeps its place there.

        Those that have work to do go first (`urgent`); others take it while nobody has.
        """
        self._waiting[job] = urgent
        if self._holder is not None:
            return False
        first = next((j for j, wants in self._waiting.items() if wants), next(iter(self._waiting)))
        if first != job:
            return False
        del self._waiting[job]
        self._holder = job
        return True

    def leave(self, job: JobId) -> None:
        """Give the trainer back, or leave the line."""
        self._waiting.pop(job, None)
        if self._holder == job:
            self._holder = None

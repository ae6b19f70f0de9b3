"""Who takes part in a job that adapts a model to a change: a node to which a like one happened."""

from __future__ import annotations

from muster.adaptation.likeness import SAMPLES_MIN, THRESHOLD, distance
from muster.job.adapting.ending import NOT_CONCERNED
from muster.protocol.records import Job, Need


def why_not_concerned(job: Job, need: Need | None, *, takes_part: bool) -> str | None:
    """Why a node with this need takes no part in a job, in a sentence; None: it does, or the job is for all.

    A node that `takes_part` already does so until its need is met: its sketch changes with every sample.
    """
    if not job.like:
        return None
    why = _differs(job, need, takes_part)
    return None if why is None else NOT_CONCERNED + why


def _differs(job: Job, need: Need | None, takes_part: bool) -> str | None:
    if need is None:
        return "no need of its own"
    if need.over:
        return "its need is met"
    if need.fingerprint != job.fingerprint:
        return "its need is of another version of the task"
    if takes_part:
        return None
    if need.sketch_samples < SAMPLES_MIN:
        return f"its sketch is of fewer than {SAMPLES_MIN} samples"
    if distance(need.sketch, job.like) >= THRESHOLD:
        return "conditions changed differently here"
    return None

"""Checks a candidate on this node's own held-out labels, and puts it into use if it passes."""

from __future__ import annotations

from muster.adaptation.gate import LABELS_MIN
from muster.errors import MusterError
from muster.node.field.gates import judged
from muster.node.field.looking import Found
from muster.node.field.situation import Judged
from muster.node.field.steps import Check
from muster.node.field.task_field import TaskField
from muster.protocol.ids import short


async def check(field: TaskField, found: Found, step: Check) -> Judged:
    """What became of it. Raises MusterError, ChildProcessError, StorageError: nothing became of it."""
    assert found.served is not None
    shop = field.workshop
    making = (shop.fine_tuned if step.personal else shop.of_commit)(field.task, step.commit)
    async with making as candidate:
        compared = await shop.compare(field.task, candidate, found.served)
        if compared.labels < LABELS_MIN:
            raise MusterError("no_result", f"only {compared.labels} held-out labels could be compared")
        accepted, why = judged(compared, "merged" if step.merged else field.settings.gate)
        if accepted:
            await field.put(candidate, "adopted", why, compared, found.served)
    result = Judged(
        step.commit, step.personal, accepted, found.labels.epoch, found.labels.labelled, compared.labels,
        f"{name_of(step)} is not used: {why}" if not accepted else why,
    )  # fmt: skip
    if not accepted:
        field.say(result.said, job=step.job)
    return result


def hopeless(found: Found, step: Check, why: str) -> Judged:
    """A candidate that cannot be made or compared here, now or ever."""
    said = f"{name_of(step)} cannot be used here: {why}"
    return Judged(step.commit, step.personal, False, found.labels.epoch, found.labels.labelled, 0, said)


def name_of(step: Check) -> str:
    """A candidate, for people."""
    result = f"the result of job {short(step.job)}"
    if step.merged:
        return f"{result}, merged with what was trained apart,"
    return f"{result}, fine-tuned here," if step.personal else result

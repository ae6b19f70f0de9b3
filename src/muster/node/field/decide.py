"""What is due for a served task: a pure function of its `Situation`.

The order is that of urgency: a use is published, a worse model goes back, a need is published, a candidate is
checked, a job is asked for.  Whatever waits says for what.
"""

from __future__ import annotations

from muster.adaptation import fall, gate, returning
from muster.adaptation.likeness import SAMPLES_MIN
from muster.node.field.situation import Judged, LikeJob, Situation
from muster.node.field.steps import Ask, Check, EndNeed, Return, Step, TellNeed, TellUse, Wait

TURN_S = 60.0  # that the next of the nodes that are alike waits longer: a trainer starts slowly
LIVE_FIRST = 20  # live labels with which the use is published again; then each time that they have doubled
MORE_LABELS = 20  # after a candidate that was not better, before another job is worth its bytes
NO_RETURN = (
    "returned",
    "rolled back",
)  # reasons of a use that no shadow takes back: it was put there for that


def decide(s: Situation) -> Step:
    """The next step; every other one follows from the situation after it. One that failed waits a while."""
    step = _due(s)
    failed = [f for f in s.faults if f.about == about(step) and f.again_s > s.now_s]
    return Wait(failed[-1].said, until_s=failed[-1].again_s) if failed else step


def about(step: Step) -> str:
    """What a fault of a step is remembered by: its kind, or the candidate that it is about."""
    return step.commit.hex() if isinstance(step, Check) else type(step).__name__


def _due(s: Situation) -> Step:
    if s.in_use is None:
        return Wait(
            "no model is in use: muster use FILE.safetensors, or muster use COMMIT, puts one into use"
        )
    if s.foreign:
        return Wait(s.foreign)
    if not s.use_said or s.live.labels >= max(LIVE_FIRST, 2 * s.said_live):
        return TellUse()
    if (back := _return(s)) is not None:
        return back
    if (step := _merged(s)) is not None:
        return step
    return _notice(s) if s.need is None or s.need.over else _open(s)


def _merged(s: Situation) -> Check | None:
    """A merge of the model in use with what like nodes trained meanwhile, out of reach, in the same job."""
    assert s.in_use is not None
    if s.need is None or s.labels.epoch > s.need.epoch or s.in_use.reason != "adopted" or not s.settings.auto:
        return None
    judged = {j.commit for j in s.judged if not j.personal} | s.returned
    found = next((job for job in reversed(s.jobs) if job.merged and job.result not in judged), None)
    if found is None or found.result is None or s.labels.held < gate.LABELS_MIN:
        return None
    return Check(found.result, found.job, merged=True)


def needs_labels(s: Situation) -> int:
    """How many labels would help now; 0: none are asked for."""
    step = decide(s)
    return step.labels if isinstance(step, Wait) else 0


def _return(s: Situation) -> Return | Wait | None:
    """Whether the former model is certainly better on the labels since the swap."""
    assert s.in_use is not None
    if s.in_use.former is None or s.in_use.reason in NO_RETURN:
        return None
    counts = s.live.only_former, s.live.only_used
    if not returning.should_return(*counts):
        return None
    if not s.settings.auto:
        return Wait("the former model answers better since it was replaced: muster rollback TASK has it back")
    return Return(returning.e_value(*counts))


def _notice(s: Situation) -> Step:
    """No need is open: do labels show one?"""
    labels = s.labels
    expected = fall.reference_accuracy(labels.before, labels.wrong_before, labels.accuracy)
    if not fall.fall(labels.judged, labels.wrong, expected).fell:
        asked = max(0, fall.LABELS_MIN - labels.judged) if labels.alarm and not _met(s) else 0
        if not asked:
            return Wait()
        return Wait(f"{labels.alarm}: {_more(asked)} would say whether the model fails", asked)
    if not s.sketches:
        return Wait(
            "the model fails here, and nothing tells to whom else the same happened: muster use, once more"
        )
    if labels.samples < SAMPLES_MIN:
        return Wait(
            f"the model fails here; waits for {SAMPLES_MIN - labels.samples} more samples, to find nodes to "
            "which the same happened"
        )
    return TellNeed()


def _met(s: Situation) -> bool:
    """Whether a need of these conditions was met already, so that labels are not asked for any more."""
    return s.need is not None and s.need.epoch == s.labels.epoch


def _open(s: Situation) -> Step:
    """A need is open: it is over with another model or in other conditions, else it is to be met."""
    assert s.in_use is not None
    assert s.need is not None
    if s.labels.epoch > s.need.epoch:
        return EndNeed()
    if s.in_use.since_s <= s.need.published_s:
        return _meet(s)
    found = _candidate(s)
    if found is not None and found[1] and found[0].result == s.in_use.commit:  # what was adopted, fine-tuned
        step = _check(s, *found)
        if isinstance(step, Check):
            return step
    return EndNeed()


def _meet(s: Situation) -> Step:
    """A candidate, a job that runs, or a job to be asked for."""
    found = _candidate(s)
    if found is not None:
        return _check(s, *found)
    running = [job for job in s.jobs if not job.over]
    if running:
        whose = "its own job" if running[-1].own else f"the job of {running[-1].asker}"
        return Wait(f"waits for {whose} ({running[-1].job[:4].hex()})")
    return _ask(s)


def _candidate(s: Situation) -> tuple[LikeJob, bool] | None:
    """The newest result that was not checked yet: as it is, then fine-tuned here (`personal`)."""
    assert s.in_use is not None
    assert s.need is not None
    checked = {(j.commit, j.personal) for j in s.judged if j.epoch == s.need.epoch and not _again(s, j)}
    for job in reversed(s.jobs):
        if job.result is None or job.result in s.returned:
            continue
        if (job.result, False) not in checked and job.result != s.in_use.commit:
            return job, False
        if s.settings.personal and (job.result, True) not in checked:
            return job, True
    return None


def _again(s: Situation, judged: Judged) -> bool:
    """Whether what was not better can be checked for being not worse now."""
    enough = gate.NOT_WORSE_LABELS_MIN
    not_worse = s.settings.gate == "not_worse" and not judged.accepted
    return not_worse and judged.held < enough <= s.labels.held


def _check(s: Situation, job: LikeJob, personal: bool) -> Step:
    assert job.result is not None
    lacking = gate.LABELS_MIN - s.labels.held
    if lacking > 0:
        made = f"the result of {job.asker}'s job" if not job.own else "the result of its job"
        return Wait(f"{made} waits for {lacking} more held-out labels to be checked on", lacking)
    if not s.settings.auto:
        return Wait(
            f"the result of a job is here: muster use {job.result[:4].hex()} checks it and puts it into use"
        )
    return Check(job.result, job.job, personal)


def _ask(s: Situation) -> Step:
    assert s.need is not None
    if not s.settings.auto:
        return Wait("the model fails here; asking for a job is left to people: muster adapt TASK")
    if (last := _refused_last(s)) is not None:
        lacking = last.labelled + MORE_LABELS - s.labels.labelled
        if lacking > 0:
            return Wait(f"{last.said}; {_more(lacking)} make another job worth it", lacking)
    if s.no_ask:
        return Wait(s.no_ask)
    rank = sum(other.node < s.node for other in s.like)
    due_s = s.need.published_s + s.settings.settle_s + rank * TURN_S
    if s.now_s >= due_s:
        return Ask(alone=not s.like)
    if not s.like:
        return Wait("looks for nodes to which the same happened, before it trains alone", until_s=due_s)
    names = ", ".join(other.name for other in s.like)
    whose = "it asks" if rank == 0 else f"{min(s.like, key=lambda other: other.node).name} asks first"
    return Wait(f"the same happened to {names}; {whose} for a job soon", until_s=due_s)


def _refused_last(s: Situation) -> Judged | None:
    """The last candidate of these conditions, if it was not better."""
    assert s.need is not None
    of_epoch = [j for j in s.judged if j.epoch == s.need.epoch]
    return of_epoch[-1] if of_epoch and not of_epoch[-1].accepted else None


def _more(labels: int) -> str:
    return f"{labels} more label{'s' if labels != 1 else ''}"

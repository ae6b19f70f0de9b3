"""Every branch of what is due for a served task, as a table of situations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from muster.node.field.decide import MORE_LABELS, TURN_S, decide, needs_labels
from muster.node.field.situation import (
    Fault,
    InUse,
    Judged,
    Labels,
    LikeJob,
    LikeNode,
    Live,
    OwnNeed,
    Settings,
    Situation,
)
from muster.node.field.steps import Ask, Check, EndNeed, Return, Step, TellNeed, TellUse, Wait

ME, LOWER, HIGHER = b"m" * 32, b"a" * 32, b"z" * 32
OLD, NEW, BAD = b"o" * 32, b"n" * 32, b"b" * 32
JOB, OTHER_JOB = b"j" * 32, b"k" * 32
IN_USE = InUse("6f6f6f6f", OLD, "first", since_s=100.0)
CALM = Situation(now_s=1000.0, node=ME, in_use=IN_USE, labels=Labels(accuracy=0.98))
ALARMED = replace(CALM, labels=Labels(1, "the answers are less certain", accuracy=0.98, samples=200))
FAILS = replace(ALARMED, labels=replace(ALARMED.labels, judged=20, wrong=14, labelled=20, held=4))
NEED = OwnNeed(1, 1, published_s=1000.0, over=False, sketch=b"s" * 196, sketch_samples=100)
IN_NEED = replace(FAILS, need=NEED)
DUE = replace(IN_NEED, now_s=1000.0 + Settings().settle_s)
NEIGHBOURS = (LikeNode(LOWER, "anna", 0.1),)
RUNS = LikeJob(JOB, "anna", own=False, over=False)
ENDED = replace(RUNS, over=True, result=NEW)
HELD = replace(
    IN_NEED, jobs=(ENDED,), labels=replace(FAILS.labels, held=20, labelled=60, judged=60, wrong=40)
)


def refused(commit: bytes = NEW, *, personal: bool = False, labelled: int = 60, epoch: int = 1) -> Judged:
    return Judged(
        commit, personal, False, epoch, labelled, 20, "it is right on 9 of 20, the model in use on 9"
    )


MERGED = replace(ENDED, result=NEW, merged=True)
MET = replace(
    HELD,
    in_use=InUse("62616464", BAD, "adopted", since_s=1100.0),
    need=replace(NEED, over=True),
    jobs=(MERGED,),
    labels=replace(HELD.labels, judged=20, wrong=1),
)

CASES: dict[str, tuple[Situation, Step | type[Step]]] = {
    "what was adopted was merged with what others trained": (MET, Check(NEW, JOB, merged=True)),
    "the same before the need is told to be met": (
        replace(MET, need=NEED),
        Check(NEW, JOB, merged=True),
    ),
    "a merge that was checked already": (replace(MET, judged=(refused(),)), Wait()),
    "a merge that another node put out of use": (replace(MET, returned=frozenset((NEW,))), Wait()),
    "another job's result after the need is met": (replace(MET, jobs=(ENDED,)), Wait()),
    "a merge of what a person put there": (
        replace(MET, in_use=replace(IN_USE, commit=BAD, reason="forced", since_s=1100.0)),
        Wait(),
    ),
    "a merge on a node without automatic steps": (replace(MET, settings=Settings(auto=False)), Wait()),
    "a merge in other conditions": (
        replace(MET, labels=replace(MET.labels, epoch=2, judged=0, wrong=0)),
        Wait,
    ),
    "nothing is in use": (replace(CALM, in_use=None), Wait),
    "all is well": (CALM, Wait()),
    "a swap that nobody was told of": (replace(CALM, use_said=False), TellUse()),
    "live labels to tell of": (replace(CALM, live=Live(20, 19, 0, 0)), TellUse()),
    "live labels that were told": (replace(CALM, live=Live(39, 38, 0, 0), said_live=20), Wait()),
    "live labels that have doubled": (replace(CALM, live=Live(40, 39, 0, 0), said_live=20), TellUse()),
    "what is in use could not be published": (
        replace(CALM, use_said=False, faults=(Fault("TellUse", "the disk is full", 1030.0),)),
        Wait("the disk is full", until_s=1030.0),
    ),
    "a job that could not be asked for keeps no model in use": (
        replace(
            CALM,
            in_use=replace(IN_USE, former="6e6e6e6e"),
            live=Live(19, 9, 0, 10),
            faults=(Fault("Ask", "the task fails", 1030.0),),
        ),
        Return,
    ),
    # noticing
    "labels fail without an alarm": (
        replace(CALM, labels=Labels(judged=40, wrong=20, samples=99, accuracy=0.98)),
        TellNeed(),
    ),
    "labels are well after an alarm": (
        replace(ALARMED, labels=replace(ALARMED.labels, judged=20, wrong=1)),
        Wait(),
    ),
    "labels show a fall": (FAILS, TellNeed()),
    "a fall against the labels before": (
        replace(FAILS, labels=replace(FAILS.labels, before=50, wrong_before=1, accuracy=None)),
        TellNeed(),
    ),
    "it was never better": (
        replace(FAILS, labels=replace(FAILS.labels, before=50, wrong_before=34, accuracy=None)),
        Wait(),
    ),
    "too few samples for a sketch": (replace(FAILS, labels=replace(FAILS.labels, samples=30)), Wait),
    "no sketch can be made": (replace(FAILS, sketches=False), Wait),
    "the sketch failed a moment ago": (
        replace(FAILS, faults=(Fault("TellNeed", "the sketch failed", 1030.0),)),
        Wait("the sketch failed", until_s=1030.0),
    ),
    "the sketch failed a while ago": (
        replace(FAILS, faults=(Fault("TellNeed", "failed", 1000.0),)),
        TellNeed(),
    ),
    "a model that another program put there": (replace(FAILS, foreign="take another"), Wait("take another")),
    # a need, and nobody works for it yet
    "others with the need are waited for": (IN_NEED, Wait),
    "a lone node asks in the end": (DUE, Ask(alone=True)),
    "the first of those that are alike asks": (
        replace(DUE, like=(LikeNode(HIGHER, "zoe", 0.1),)),
        Ask(alone=False),
    ),
    "another one asks first": (replace(DUE, like=NEIGHBOURS), Wait),
    "the first one does not": (
        replace(DUE, like=NEIGHBOURS, now_s=DUE.now_s + TURN_S),
        Ask(alone=False),
    ),
    "asking is left to people": (replace(DUE, settings=Settings(auto=False)), Wait),
    "the owner's budget is spent": (replace(DUE, no_ask="asked today"), Wait("asked today")),
    "the trainer failed a moment ago": (
        replace(DUE, faults=(Fault("Ask", "the task fails", DUE.now_s + 9),)),
        Wait("the task fails", until_s=DUE.now_s + 9),
    ),
    # a job
    "somebody asked": (replace(DUE, jobs=(RUNS,)), Wait),
    "its own job runs": (replace(DUE, jobs=(replace(RUNS, own=True),)), Wait),
    "a job ended without a model": (replace(DUE, jobs=(replace(ENDED, result=None),)), Ask(alone=True)),
    "held-out labels are too few": (replace(HELD, labels=replace(HELD.labels, held=12)), Wait),
    "a candidate is to be checked": (HELD, Check(NEW, JOB)),
    "the newest one first": (
        replace(HELD, jobs=(ENDED, replace(ENDED, job=OTHER_JOB, result=BAD))),
        Check(BAD, OTHER_JOB),
    ),
    "a candidate before a job that still runs": (
        replace(HELD, jobs=(ENDED, replace(RUNS, job=OTHER_JOB))),
        Check(NEW, JOB),
    ),
    "not worse may be better": (replace(HELD, settings=Settings(gate="not_worse")), Check(NEW, JOB)),
    "not better may be not worse": (
        replace(HELD, settings=Settings(gate="not_worse"), judged=(refused(),)),
        Wait,
    ),
    "with labels for that it is checked again": (
        replace(
            HELD,
            settings=Settings(gate="not_worse"),
            labels=replace(HELD.labels, held=300),
            judged=(refused(),),
        ),
        Check(NEW, JOB),
    ),
    "and not again after that": (
        replace(
            HELD,
            settings=Settings(gate="not_worse"),
            labels=replace(HELD.labels, held=310),
            judged=(replace(refused(), held=300),),
        ),
        Wait,
    ),
    "taking is left to people": (replace(HELD, settings=Settings(auto=False)), Wait),
    "a like node took it back": (replace(HELD, now_s=2000.0, returned=frozenset({NEW})), Ask(alone=True)),
    "the disk is full": (
        replace(HELD, faults=(Fault(NEW.hex(), "the disk is full", 1030.0),)),
        Wait("the disk is full", until_s=1030.0),
    ),
    "the disk was full": (
        replace(HELD, faults=(Fault(NEW.hex(), "the disk is full", 999.0),)),
        Check(NEW, JOB),
    ),
    "another candidate failed": (
        replace(HELD, faults=(Fault(BAD.hex(), "failed", 1030.0),)),
        Check(NEW, JOB),
    ),
    "it is in use already": (
        replace(HELD, in_use=replace(IN_USE, commit=NEW), need=replace(NEED, published_s=99.0)),
        EndNeed(),
    ),
    # a candidate was not better
    "refused, no label since": (replace(HELD, judged=(refused(),)), Wait),
    "refused, and labels since": (
        replace(HELD, now_s=2000.0, judged=(refused(labelled=60 - MORE_LABELS),)),
        Ask(alone=True),
    ),
    "refused in other conditions": (replace(HELD, judged=(refused(epoch=0),)), Check(NEW, JOB)),
    "the fine-tuned one comes after": (
        replace(HELD, settings=Settings(personal=True), judged=(refused(),)),
        Check(NEW, JOB, personal=True),
    ),
    "both were refused": (
        replace(HELD, settings=Settings(personal=True), judged=(refused(), refused(personal=True))),
        Wait,
    ),
    # it went into use
    "the need is over": (
        replace(HELD, in_use=replace(IN_USE, commit=NEW, reason="adopted", since_s=1001.0)),
        EndNeed(),
    ),
    "what was adopted is fine-tuned before the need is over": (
        replace(
            HELD,
            settings=Settings(personal=True),
            in_use=replace(IN_USE, commit=NEW, reason="adopted", since_s=1001.0),
            judged=(replace(refused(), accepted=True),),
        ),
        Check(NEW, JOB, personal=True),
    ),
    "it was fine-tuned, for better or worse": (
        replace(
            HELD,
            settings=Settings(personal=True),
            in_use=replace(IN_USE, commit=NEW, reason="adopted", since_s=1001.0),
            judged=(replace(refused(), accepted=True), refused(personal=True)),
        ),
        EndNeed(),
    ),
    "conditions changed again": (
        replace(IN_NEED, labels=replace(FAILS.labels, epoch=2, judged=0, wrong=0)),
        EndNeed(),
    ),
    "a met need asks for no labels": (
        replace(ALARMED, need=replace(NEED, over=True), labels=replace(ALARMED.labels, judged=3)),
        Wait(),
    ),
    "the adopted model fails as well": (
        replace(
            FAILS, need=replace(NEED, over=True), in_use=replace(IN_USE, reason="adopted", since_s=1001.0)
        ),
        TellNeed(),
    ),
    # going back
    "the former model is better": (
        replace(CALM, in_use=replace(IN_USE, former="6e6e6e6e", reason="forced"), live=Live(19, 9, 0, 10)),
        Return,
    ),
    "that is not certain yet": (
        replace(CALM, in_use=replace(IN_USE, former="6e6e6e6e"), live=Live(19, 14, 1, 5)),
        Wait(),
    ),
    "going back is left to people": (
        replace(
            CALM,
            settings=Settings(auto=False),
            in_use=replace(IN_USE, former="6e6e6e6e"),
            live=Live(19, 9, 0, 10),
        ),
        Wait,
    ),
    "there is no former model": (replace(CALM, live=Live(19, 9, 0, 10)), Wait()),
    "a person rolled back": (
        replace(
            CALM, in_use=replace(IN_USE, former="6e6e6e6e", reason="rolled back"), live=Live(19, 9, 0, 10)
        ),
        Wait(),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_due(name: str) -> None:
    situation, expected = CASES[name]
    step = decide(situation)
    assert step == expected if not isinstance(expected, type) else isinstance(step, expected)


@pytest.mark.parametrize("name", [n for n, (_, expected) in CASES.items() if expected is Wait])
def test_whatever_waits_says_for_what(name: str) -> None:
    step = decide(CASES[name][0])
    assert isinstance(step, Wait)
    assert step.why
    assert not step.why.endswith(".")


def test_labels_are_wanted_by_number() -> None:
    assert needs_labels(CALM) == 0
    assert needs_labels(ALARMED) == 20
    assert needs_labels(replace(ALARMED, labels=replace(ALARMED.labels, judged=13))) == 7
    assert needs_labels(replace(HELD, labels=replace(HELD.labels, held=12))) == 8
    assert needs_labels(replace(HELD, judged=(refused(),))) == MORE_LABELS


def test_a_wait_says_who_is_meant() -> None:
    said: Any = decide(replace(DUE, like=NEIGHBOURS))
    assert "anna" in said.why
    assert said.until_s == DUE.now_s + TURN_S
    said = decide(replace(DUE, jobs=(RUNS,)))
    assert "anna" in said.why
    assert JOB[:4].hex() in said.why
    said = decide(replace(HELD, judged=(refused(),)))
    assert "9 of 20" in said.why
    assert "20 more labels" in said.why

"""What `--one-shot` asks for: steps on all samples, one round, no mean of models."""

from __future__ import annotations

import pytest

from muster.errors import MusterError
from muster.node.api.job_description import one_shot_of, requested, settled
from muster.planning.pool import STEPS
from muster.protocol.records import CLASSES, Recipe, StopRule


def of(**arguments: object) -> tuple[dict[str, object], Recipe, StopRule]:
    request, recipe, stop = settled(requested({"task": "mnist", **arguments}), {"rounds": 40}, CLASSES)
    return one_shot_of(request), recipe, stop


def test_alone_it_is_one_round_of_samples() -> None:
    fields, recipe, stop = of(one_shot="auto")
    assert fields["share"] == "always"
    assert fields["one_shot"] == STEPS
    assert stop == StopRule(rounds=1)
    assert recipe.average == 1


def test_another_end_says_how_it_goes_on() -> None:
    assert of(one_shot=500, rounds=10)[2] == StopRule(rounds=10)
    target = of(one_shot=500, target=0.97)[2]
    assert target.rounds is None
    assert target.target is not None
    assert of(one_shot=500)[0]["one_shot"] == 500
    assert of(rounds=3) == ({}, of(rounds=3)[1], StopRule(rounds=3))


@pytest.mark.parametrize("steps", [0, -1, 10**9, "many"])
def test_steps_that_cannot_be(steps: object) -> None:
    with pytest.raises(MusterError):
        requested({"task": "mnist", "one_shot": steps})

"""What `--one-shot` asks for: steps on all samples, one round, no mean of models."""

from __future__ import annotations

import pytest

from muster.errors import MusterError
from muster.node.api.job_description import requested, settled, sharing_of
from muster.planning.pool import STEPS
from muster.protocol.parts import CLASSES, Recipe, StopRule


def of(**arguments: object) -> tuple[dict[str, object], Recipe, StopRule]:
    request, recipe, stop = settled(requested({"task": "mnist", **arguments}), {"rounds": 40}, CLASSES)
    return sharing_of(request), recipe, stop


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
    assert of(rounds=3)[::2] == ({"share": "none", "share_bytes": 0}, StopRule(rounds=3))


def test_a_job_that_asks_for_samples_says_how_large() -> None:
    assert of(share="auto", share_bytes=3000)[0] == {"share": "auto", "share_bytes": 3000}
    assert of(one_shot="auto", share_bytes=3000)[0]["share_bytes"] == 3000
    for wrong, said in (
        ({"share": "some"}, "--share must be one of none, auto, always"),
        ({"share_bytes": 3000}, "--share-bytes is for jobs that ask for samples: say --share always, too"),
        ({"share": "always", "share_bytes": 0}, "--share-bytes must be 1 to "),
    ):
        with pytest.raises(MusterError, match=said):
            requested({"task": "mnist", **wrong})


@pytest.mark.parametrize("steps", [0, -1, 10**9, "many"])
def test_steps_that_cannot_be(steps: object) -> None:
    with pytest.raises(MusterError):
        requested({"task": "mnist", "one_shot": steps})

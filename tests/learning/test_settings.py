"""What a node says under [tasks.NAME]: reserved keys are typed, all else must be declared by the task."""

from __future__ import annotations

from typing import Any

import pytest

from muster.errors import MusterError
from muster.learning.settings import Settings
from muster.learning.task import Task


class Tuned(Task):
    name = "tuned"
    options = {"hidden": 16, "noise": 0.1, "kind": "a", "deep": False, "free": None}  # noqa: RUF012


def refusal(**options: Any) -> str:
    with pytest.raises(MusterError) as caught:
        Tuned(**options)
    assert caught.value.code == "config"
    return caught.value.sentence


def test_defaults_and_what_the_node_says() -> None:
    assert Tuned().options == Tuned.options
    found = Tuned(hidden=8, noise=1, free=[1, 2], batch=4, lr_scale=0.5, steps_max=3, device="cuda:1")
    assert found.options == {"hidden": 8, "noise": 1, "kind": "a", "deep": False, "free": [1, 2]}
    assert found.settings == Settings(4, 0.5, 3, "cuda:1", "fp32")
    assert Tuned.options["hidden"] == 16


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("lr", "did you mean 'lr_scale'?"),
        ("hiden", "did you mean 'hidden'?"),
        ("step_max", "did you mean 'steps_max'?"),
        ("Part", "did you mean 'part'?"),
        ("xyzzy", "it has hidden, noise, kind, deep, free"),
    ],
)
def test_a_key_that_nobody_declared_is_refused_with_the_nearest(key: str, hint: str) -> None:
    said = refusal(**{key: 0.5})
    assert f"[tasks.tuned] {key}: the task 'tuned' declares no such option; {hint}" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hidden": "8"}, "'8' is not of the type of its default 16"),
        ({"hidden": 8.5}, "8.5 is not of the type of its default 16"),
        ({"hidden": True}, "True is not of the type"),
        ({"deep": 1}, "1 is not of the type of its default False"),
        ({"noise": "much"}, "'much' is not of the type of its default 0.1"),
        ({"batch": 0}, "batch: 0 is not a whole number from 1"),
        ({"device": "gpu"}, "'gpu' is not \"auto\""),
    ],
)
def test_a_value_has_the_type_of_its_default(options: dict[str, Any], said: str) -> None:
    assert said in refusal(**options)

"""The stories of `muster demo --story NAME`: what each takes that the user does not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from muster.cli.demo.preparation import DemoRequest
from muster.cli.demo.stories import adapt, courier, narrow, partition
from muster.emulation.scenario import Scenario

STORIES = ("partition", "narrow", "courier", "adapt")
SCENARIOS = {"narrow": narrow.SCENARIO, "courier": courier.SCENARIO}


def task(name: str | None, data: Path | None) -> str:
    """The task of a story, or of a demo without one."""
    return "mnist" if name in ("narrow", "courier", "adapt") and data is not None else "digits"


def split(name: str | None, scenario: Scenario) -> str:
    """How the data is split. Raises MusterError("usage")."""
    if name == "courier":
        return courier.split(scenario)
    return "iid" if name == "adapt" else "classes:2"


def with_story(name: str | None, request: DemoRequest) -> DemoRequest:
    """The request with the story and what goes with it; what the user said stays. Raises MusterError."""
    mnist = request.task == "mnist"
    if name == "partition":
        options = {"rounds": partition.ROUNDS, "patience_s": partition.PATIENCE_S, **request.options}
        play = partition.partition(request.scenario, int(options["rounds"]))
        return replace(request, options=options, story=play)
    if name == "narrow":
        once = narrow.MNIST_ONE_SHOT if "one_shot" in request.options else narrow.MNIST
        chosen = once if mnist else {}
        options = {**narrow.OPTIONS, **chosen, **request.options}
        return replace(request, options=options, task_options=narrow.TASK if mnist else {})
    if name == "courier":
        options = {**courier.OPTIONS, **request.options}
        return replace(
            request, options=options, story=courier.story(request.scenario, int(options["rounds"])),
            task_options=courier.MNIST_TASK if mnist else {}, policy=courier.POLICY, acts=courier.ACTS,
        )  # fmt: skip
    if name == "adapt":
        adapt.check(request.scenario, request.task)
        return replace(request, task_options=adapt.TASK)
    return request

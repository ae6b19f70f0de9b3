"""`muster demo --story adapt`: who plays what, and what its nodes are configured with.

The play itself is in `cli/demo/adapt`.
"""

from __future__ import annotations

from typing import Any

from muster.cli.demo.stories.partition import sides_of
from muster.emulation.scenario import Scenario
from muster.errors import MusterError

TASKS = ("digits", "mnist")  # whose pictures can be turned
PARTS = 16  # of the training data: one a node, the other half is the world that the nodes look at
SETTLE_S = 6.0  # short, so that an asking node is seen and not waited for
TASK: dict[str, Any] = {"parts": PARTS, "serve": {"settle_s": SETTLE_S}}
CAMERAS_EACH = 2  # on either side of the bridge


def check(scenario: Scenario, task: str) -> None:
    """Raises MusterError("usage") for what cannot be played."""
    cameras_of(scenario)
    if task not in TASKS:
        raise MusterError("usage", f"the story needs pictures of digits: leave out --task {task}")
    if len(scenario.names()) > PARTS // 2:
        raise MusterError("usage", f"the story is for {PARTS // 2} nodes at most, {scenario.name} has more")


def cameras_of(scenario: Scenario) -> tuple[str, ...]:
    """Two nodes that are always there on either side of the bridge. Raises MusterError usage."""
    sides = sides_of(scenario)
    steady = [name for name in scenario.names() if scenario.node(name).away is None]
    found = [[name for name in side if name in steady][:CAMERAS_EACH] for side in (sides.near, sides.far)]
    if any(len(side) < CAMERAS_EACH for side in found):
        raise MusterError(
            "usage",
            f"the story needs two nodes that are always there on either side of {sides.a} - {sides.b}",
        )
    return (*found[0], *found[1])

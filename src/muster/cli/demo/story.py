"""What happens to the network in `muster demo --story NAME`: a small play whose cues are the job's rounds.

A `Scene` is a value: when it is due, the faults (simulation/faults.py), and what to print. Which
scenes have begun is a pure function of the rounds that both sides of the network have done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from muster.emulation.scenario import Scenario
from muster.errors import MusterError
from muster.simulation.faults import Cut, Fault, Heal, Kill, Restart

STORIES = ("partition", "narrow")
NARROW_SCENARIO = "narrow-9"
NARROW_TASK: dict[str, str | int] = {"model": "cnn6k"}  # of mnist: about 6,000 parameters
NARROW_OPTIONS: dict[str, Any] = {"patience_s": 90.0, "min_nodes": 8}
# Few large rounds: on such links every record weighs (docs/notes/2026-11-23-bytes-of-a-round.md).
NARROW_MNIST: dict[str, Any] = {
    "rounds": 36,
    "lr": 0.1,
    "lr_end": 0.1,
    "batch": 16,
    "steps": 50,
    "server_momentum": 0.0,
    "codec": "stc:0.07",
    "down_codec": "stc:0.07",
}
ROUNDS = 50
ROUNDS_MIN = 12
PATIENCE_S = 6.0  # short, so that a take-over is seen and not waited for


@dataclass(frozen=True)
class Sides:
    """A link, and who is left on which side when it is cut; the asker is on the near one."""

    a: str
    b: str
    near: tuple[str, ...]
    far: tuple[str, ...]

    @property
    def near_end(self) -> str:
        """The end of the link on the asker's side."""
        return self.a if self.a in self.near else self.b


@dataclass(frozen=True)
class Scene:
    """Due when the near side has done `near` rounds and the far side `far`, or either of them `either`.

    Without the last one a side that ran ahead could end the job before the play is over.
    """

    near: int
    far: int
    either: int
    faults: tuple[Fault, ...]
    text: str

    def due(self, near: int, far: int) -> bool:
        """Whether it is time, once the sides have done so many rounds."""
        return (near >= self.near and far >= self.far) or max(near, far) >= self.either


@dataclass(frozen=True)
class Story:
    """Scenes in order; after `divided` of them the sides are cut apart, after `whole` joined again."""

    sides: Sides
    scenes: tuple[Scene, ...]
    divided: int
    whole: int

    def begun(self, near: int, far: int) -> int:
        """How many scenes have begun once the sides have done so many rounds; never out of order.

        >>> from muster.emulation.scenario_file import load
        >>> story = partition(load("field-8"), 16)
        >>> [story.begun(near, far) for near, far in ((2, 2), (3, 2), (5, 8), (6, 6), (7, 7), (4, 11))]
        [0, 2, 2, 3, 4, 4]
        """
        for number, scene in enumerate(self.scenes):
            if not scene.due(near, far):
                return number
        return len(self.scenes)

    def faults(self, near: int, far: int) -> tuple[Fault, ...]:
        """All that has been done to the network by then, in order."""
        return tuple(fault for scene in self.scenes[: self.begun(near, far)] for fault in scene.faults)


def partition(scenario: Scenario, rounds: int) -> Story:
    """The bridge is cut, the asker killed, both sides train on, the asker comes back, the link heals."""
    sides = sides_of(scenario)
    if rounds < ROUNDS_MIN:
        raise MusterError("usage", f"the story needs {ROUNDS_MIN} rounds or more: give --rounds {ROUNDS}")
    cut = min(4, rounds // 5)
    # Apart for longer than a lease, so that both ends notice; the rest is for what is learnt together.
    apart = max(4, rounds * 3 // 10)
    asker = sides.near[0]
    link = f"{sides.a} - {sides.b}"
    scenes = (
        Scene(
            cut, cut - 1, cut, (Cut(sides.a, sides.b),),
            f"STORY: the link {link} is cut: {_and(sides.near)} here, {_and(sides.far)} there",
        ),
        Scene(
            cut, cut - 1, cut, (Kill(asker),),
            f"STORY: {asker}, which asked for help and coordinates, is killed",
        ),
        Scene(
            cut + apart - 1, cut + apart - 1, cut + 2 * apart - 1, (Restart(asker),),
            f"STORY: {asker} is started again",
        ),
        Scene(
            cut + apart, cut + apart, cut + 2 * apart, (Heal(sides.a, sides.b),),
            f"STORY: the link {link} is back: two histories meet",
        ),
    )  # fmt: skip
    return Story(sides, scenes, 1, len(scenes))


def sides_of(scenario: Scenario) -> Sides:
    """The link that holds the network together with two nodes or more on either side."""
    for link in scenario.links:
        near = _reached(scenario, scenario.names()[0], without=(link.a, link.b))
        far = tuple(name for name in scenario.names() if name not in near)
        if len(near) > 1 and len(far) > 1:
            return Sides(link.a, link.b, near, far)
    raise MusterError(
        "usage", f"no single link divides {scenario.name} into two groups: the story needs one, as in field-8"
    )


def _reached(scenario: Scenario, start: str, without: tuple[str, str]) -> tuple[str, ...]:
    seen, front = {start}, [start]
    while front:
        name = front.pop()
        fresh = {n for n in scenario.neighbours(name) if {name, n} != set(without)} - seen
        seen |= fresh
        front += fresh
    return tuple(name for name in scenario.names() if name in seen)


def _and(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"

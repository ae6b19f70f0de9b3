"""`muster demo --story partition`: a network is cut in two, its asker killed, and both halves meet again."""

from __future__ import annotations

from dataclasses import dataclass

from muster.cli.demo.stories.story import Seen, Story, both
from muster.emulation.scenario import Scenario
from muster.errors import MusterError
from muster.simulation.faults import Cut, Fault, Heal, Kill, Restart

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

    def due(self, seen: Seen) -> bool:
        """Whether it is time."""
        return (seen.near >= self.near and seen.far >= self.far) or max(seen.near, seen.far) >= self.either

    def said(self, seen: Seen) -> str:
        """What is printed."""
        return self.text


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
            f"STORY: the link {link} is cut: {both(sides.near)} here, {both(sides.far)} there",
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
    return Story(sides.near, sides.far, sides.near_end, scenes, 1, len(scenes))


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

"""`muster demo --story courier`: two posts that are met once, by a courier, and are out of reach ever after.

Each post alone has two of the classes.  The story is played twice on one network: with updates alone, and
with samples that stand in for who is away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from muster.cli.demo.preparation import Act
from muster.cli.demo.stories.story import Cued, Seen, Story, both
from muster.cli.output import size
from muster.emulation.scenario import Scenario
from muster.errors import MusterError
from muster.simulation.faults import Cut, Fault, Heal

SCENARIO = "field-8-courier"
CLASSES_EACH = 2  # that a post has alone
ROUNDS = 70
ROUNDS_MIN = 10
OPTIONS: dict[str, Any] = {"rounds": ROUNDS, "patience_s": 30.0}
MNIST_TASK: dict[str, str | int] = {"model": "cnn6k"}
SHARE_BYTES = 5000  # that the samples of a node may take
ACTS = (
    Act("updates alone"),
    Act("with stand-ins", {"share": "always", "share_bytes": SHARE_BYTES}),
)
POLICY = {"share": "samples"}  # of every node: who is not asked for samples shares none

LEG_S = 40.0  # after which the courier moves on, whatever it got


@dataclass(frozen=True)
class Leg:
    """Due once the courier has what the job wants of node `carries`, or after `LEG_S`; of the `asker` once it
    knows of the job by it."""

    carries: str
    faults: tuple[Fault, ...]
    text: str
    asker: bool = False

    def due(self, seen: Seen) -> bool:
        """Whether the courier moves on."""
        has = self.carries in (seen.known if self.asker else seen.carried)
        return has or seen.scene_s >= LEG_S

    def said(self, seen: Seen) -> str:
        """What is printed: where the courier goes, and what it brings from where it was."""
        brings = 0 if self.asker else seen.carried.get(self.carries, 0)
        return self.text + (f", with {size(brings)} of samples of {self.carries}" if brings else "")


@dataclass(frozen=True)
class Cast:
    """Who plays what: `posts` have one link each, to the `courier`, which has links to all the `camp`."""

    camp: tuple[str, ...]
    courier: str
    posts: tuple[str, ...]


def cast(scenario: Scenario) -> Cast:
    """Who is the courier of a scenario, and who is met by it alone. Raises MusterError("usage")."""
    names = scenario.names()
    posts = tuple(name for name in names if len(scenario.neighbours(name)) == 1)
    couriers = {scenario.neighbours(name)[0] for name in posts}
    if len(couriers) == 1 and posts == names[-len(posts) :]:
        (courier,) = couriers
        camp = tuple(name for name in names if name not in posts and name != courier)
        if len(camp) > 1 and courier != names[0] and set(camp) <= set(scenario.neighbours(courier)):
            return Cast(camp, courier, posts)
    raise MusterError(
        "usage",
        f"{scenario.name} has no courier: the story needs a node that alone leads to the last ones, as in"
        f" {SCENARIO}",
    )


def split(scenario: Scenario) -> str:
    """Each post alone has two classes."""
    return f"alone:{CLASSES_EACH}:{len(cast(scenario).posts)}"


def story(scenario: Scenario, rounds: int, others: tuple[Cued, ...] = ()) -> Story:
    """The courier leaves the camp, meets each post once, and is back; then come `others`."""
    who = cast(scenario)
    if rounds < ROUNDS_MIN:
        raise MusterError("usage", f"the story needs {ROUNDS_MIN} rounds or more: give --rounds {ROUNDS}")
    camp_link = [(who.courier, name) for name in who.camp]
    away = tuple(Cut(a, b) for a, b in camp_link)
    legs: list[Cued] = []
    left: tuple[Fault, ...] = away
    had = who.camp[0]  # the asker, by whom the courier knows of the job
    text = f"STORY: {who.courier} leaves the camp"
    for post in who.posts:
        met = f"{text} and meets {post}"
        legs.append(Leg(had, (*left, Heal(who.courier, post)), met, asker=not legs))
        left, had, text = (Cut(who.courier, post),), post, f"STORY: {who.courier} moves on"
    home = tuple(Heal(a, b) for a, b in camp_link)
    met = both(who.posts) if len(who.posts) > 1 else who.posts[0]
    legs.append(
        Leg(
            had, (*left, *home),
            f"STORY: {who.courier} is back at the camp; {met} will not be met again",
        )
    )  # fmt: skip
    opening: tuple[Fault, ...] = (*home, *(Cut(who.courier, post) for post in who.posts))
    return Story(
        who.camp, (), who.camp[1], (*legs, *others), opening=opening, courier=who.courier,
        unreached=who.posts,
    )  # fmt: skip

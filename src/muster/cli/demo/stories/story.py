"""What a story is: scenes that begin when their cue comes, as values.

Which scenes have begun is a pure function of what is `Seen`: the rounds that both sides of the network have
done, and what a courier carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from muster.simulation.faults import Fault


@dataclass(frozen=True)
class Seen:
    """What cues go by."""

    near: int = 0  # rounds that the near side has done
    far: int = 0
    known: frozenset[str] = frozenset()  # nodes of whose offers the courier knows
    # nodes of which the courier has what the job wants of them, with the bytes of the samples that they share
    carried: Mapping[str, int] = field(default_factory=dict)
    scene_s: float = 0.0  # since the last scene began


class Cued(Protocol):
    """A scene: it begins once it is `due`, with these faults and the line `said`."""

    @property
    def faults(self) -> tuple[Fault, ...]: ...
    def due(self, seen: Seen) -> bool: ...
    def said(self, seen: Seen) -> str: ...


@dataclass(frozen=True)
class Story:
    """Scenes in order; after `divided` of them the sides are cut apart, after `whole` joined again.

    `deputy` is the node whose view is shown once the asker is gone.  `opening`: how the network is before a
    job begins.  `courier` carries what is `Seen.carried`; `unreached` nodes never hear how the job ends.
    """

    near: tuple[str, ...]  # the asker among them
    far: tuple[str, ...]
    deputy: str
    scenes: tuple[Cued, ...]
    divided: int = 0
    whole: int = 0
    opening: tuple[Fault, ...] = ()
    courier: str | None = None
    unreached: tuple[str, ...] = ()

    def begun(self, seen: Seen, already: int = 0) -> int:
        """How many scenes have begun, when `already` so many had; never out of order.

        >>> from muster.cli.demo.stories.partition import partition
        >>> from muster.emulation.scenario_file import load
        >>> story = partition(load("field-8"), 16)
        >>> [story.begun(Seen(near, far)) for near, far in ((2, 2), (3, 2), (5, 8), (6, 6), (7, 7), (4, 11))]
        [0, 2, 2, 3, 4, 4]
        """
        for number in range(already, len(self.scenes)):
            if not self.scenes[number].due(seen):
                return number
            seen = replace(seen, scene_s=0.0)
        return len(self.scenes)


def both(names: tuple[str, ...]) -> str:
    """The names as a person lists them: a, b and c."""
    return f"{', '.join(names[:-1])} and {names[-1]}"

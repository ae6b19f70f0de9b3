"""Plays a story on a running demo: watches both sides' rounds, makes the faults happen, says what is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from muster.cli.demo.stories.story import Seen, Story
from muster.cli.output import headline
from muster.node.api.snapshot import JobSnapshot, Snapshot
from muster.simulation.faults import Fault, Kill

SETTLE_S = 60.0  # after the end, for every node to come to the same head
ENDED = ("finished", "stopped", "failed")


class Stage:
    """Plays `story`: `apply` makes a fault happen, `say` prints one line."""

    def __init__(
        self, story: Story, apply: Callable[[Fault], Awaitable[None]], say: Callable[[str], None]
    ) -> None:
        self._story, self._apply, self._say = story, apply, say
        self._begun = 0
        self._far_round = 0  # the far side's round
        self._scene_s: float | None = None  # when the last scene began
        self._ended_s: float | None = None
        self.killed: set[str] = set()  # nodes whose end is no news

    async def play(self, job: str, snapshots: Mapping[str, Snapshot]) -> None:
        """Begin every scene whose time has come."""
        story, now_s = self._story, asyncio.get_running_loop().time()
        self._scene_s = now_s if self._scene_s is None else self._scene_s
        near, far = round_of(job, snapshots, story.near), round_of(job, snapshots, story.far)
        seen = Seen(near, far, *self._carried(job, snapshots), now_s - self._scene_s)
        for scene in story.scenes[self._begun : story.begun(seen, self._begun)]:
            self._begun += 1
            self._scene_s = now_s
            self._say(scene.said(seen))
            for fault in scene.faults:
                if isinstance(fault, Kill):
                    self.killed.add(fault.node)
                await self._apply(fault)
        if story.divided <= self._begun < story.whole and far > self._far_round:
            self._far_round = far
            found = max(views(job, snapshots, story.far), key=lambda view: view.round)
            self._say(f"beyond the cut: round {far}, coordinated by {found.coordinator}, {headline(found)}")

    def over(self, job: str, snapshots: Mapping[str, Snapshot], absent: Collection[str]) -> bool:
        """Whether the play has ended and all who are there hold one finished head, or `SETTLE_S` passed."""
        now_s = asyncio.get_running_loop().time()
        self._ended_s = now_s if self._ended_s is None else self._ended_s
        if now_s - self._ended_s > SETTLE_S:
            return True
        there = [name for name in snapshots if name not in absent and name not in self._story.unreached]
        found = views(job, snapshots, there)
        return (
            self._begun == len(self._story.scenes)
            and len({view.head for view in found}) == 1
            and all(view.state in ENDED for view in found)
        )

    def _carried(self, job: str, snapshots: Mapping[str, Snapshot]) -> tuple[frozenset[str], dict[str, int]]:
        """The nodes of whose offers the courier knows; and those of which it has all that the job wants, with
        the bytes of the samples that they share."""
        found = views(job, snapshots, [self._story.courier] if self._story.courier else [])
        offered = [(view.share, c) for view in found for c in view.contributions if c.samples]
        carried = {c.node: c.shared_bytes for share, c in offered if share == "none" or c.shared_held}
        return frozenset(c.node for _, c in offered), carried


def views(job: str, snapshots: Mapping[str, Snapshot], names: Collection[str]) -> list[JobSnapshot]:
    """The job as each of these nodes sees it."""
    return [view for name in names if name in snapshots for view in snapshots[name].jobs if view.id == job]


def round_of(job: str, snapshots: Mapping[str, Snapshot], names: Collection[str]) -> int:
    """The highest round of the job that these nodes know."""
    return max((view.round for view in views(job, snapshots, names)), default=0)

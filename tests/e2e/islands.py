"""Two islands that see different classes of MNIST, with real processes over a network that is really cut.

A fleet trains together for BEFORE rounds, then each half alone for APART, then the two models are merged and
all train on together.  Beside it, on the same fleet, the same job that is never split.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import play
import psutil
from kept import Kept, counted_once, kept, one_head
from play import ask, end_all, field, mesh, until, until_one_end, until_round, view

from muster.history.point import Point
from muster.learning import params
from muster.learning.evaluation import evaluate
from muster.learning.params import fresh_model
from muster.learning.sources.source import as_source
from muster.learning.task import load
from muster.protocol.ids import CommitId, NodeId
from muster.simulation.faults import Heal, Partition
from small_fleet import SmallFleet

HALVES = Path(__file__).parent / "halves.py"
BEFORE, APART, AFTER = 5, 8, 5
OVER = 4  # rounds that an island may do beyond APART before it is stopped, on a busy machine
SPARE = 4  # rounds after the merge that may lack a late node
CUT_S = 20.0  # at least. After a cut about as long as a link's lease (12.5 s) it may come back by halves
# and takes up to half a minute to be opened again (see watchdog.py): the job would end before all are back
BACK_S = (
    60.0  # at most, until all hold the merge: trainers go on then, or an island would add rounds of its own
)
LOOKS = 20  # in a row that an island is at rest: what was trained is on record a moment later
RECIPE = {
    "lr": 0.05,
    "batch": 64,  # with 32 or with momentum a single model is off its neighbours in time by up to 5 points
    "steps": 20,
    "lr_end": 1.0,
    "server_momentum": 0.0,
    "codec": "dense32",
    "down_codec": "dense32",
}
PATIENCE_S = 8.0
OFF_MAX = 0.10  # whatever a single model is off: more is a fault
ROUND_LIMIT_S = 150.0  # for the eight rounds of an island, a take-over among them


@dataclass(frozen=True)
class Story:
    """Accuracies: of the islands when they meet, of their merge, one round and AFTER rounds after it; and of
    the job that was never split, at the same two rounds."""

    islands: tuple[float, float]
    merged: float
    after: tuple[float, float]
    never_split: tuple[float, float]

    @property
    def gain(self) -> float:
        """What the merge is above the better island."""
        return self.merged - max(self.islands)

    @property
    def behind(self) -> tuple[float, float]:
        """What is missing to the job that was never split, at the two rounds."""
        return self.never_split[0] - self.after[0], self.never_split[1] - self.after[1]


def judge(stories: Sequence[Story]) -> None:
    """Issue 3, done-when 2 (c), over its seeds. What is missing is their median: a single model is now and
    then 2 to 4 points off those before and after it, of the job that is never split as well."""
    for story in stories:
        assert story.gain >= 0.25, story
        assert max(story.behind) <= OFF_MAX, story
    assert median(s.behind[0] for s in stories) <= 0.04, stories
    assert median(s.behind[1] for s in stories) <= 0.03, stories


@dataclass(frozen=True)
class Told:
    """A story, and how the real one went."""

    story: Story
    apart: tuple[int, int]  # rounds that each island did alone
    merges: int
    counted: list[int]  # nodes that each round after the merge counts


async def live(data: Path, nodes: int, seed: int) -> Told:
    """Both jobs on one fleet. Raises AssertionError when the nodes do not end with one head and the same
    bits, or when the history does not name all updates."""
    names = [f"n{number}" for number in range(nodes)]
    scenario = mesh(names)
    options: dict[str, str | int | float | bool | list[int]] = {"seed": seed}
    specs = tuple(msgspec.structs.replace(node, data=options) for node in scenario.nodes)
    scenario = msgspec.structs.replace(scenario, nodes=specs)
    async with field(scenario, HALVES, data=data) as fleet:
        split = await _job(fleet, names, seed, divided=True)
        never = await _job(fleet, names, seed, divided=False)
        sides = await _sides(fleet, names, split)
        await end_all(fleet)
        with kept(fleet.rundir, names, split) as disks:
            head = one_head(disks)
            counted_once(disks, head)
            found = _points(disks[0], head, sides)
            points = (*found.islands, found.merge, found.whole(0, nodes), found.whole(AFTER - 1, nodes))
            a, b, merged, one, five = (_measured(disks[0], data, seed, p.id) for p in points)
        with kept(fleet.rundir, names, never) as disks:
            line = {p.round: p.id for p in disks[0].graph.ancestors(one_head(disks).id)}
            whole = tuple(_measured(disks[0], data, seed, line[p.round]) for p in points[3:])
    return Told(
        Story((a, b), merged, (one, five), (whole[0], whole[1])), found.apart, found.merges, found.counted
    )


async def _job(fleet: SmallFleet, names: Sequence[str], seed: int, *, divided: bool) -> str:
    rounds = BEFORE + APART + OVER + AFTER + SPARE
    job = await ask(fleet, names[0], rounds=rounds, patience_s=PATIENCE_S, seed=seed, **RECIPE)
    if divided:
        await _divide(fleet, names, job)
    await until_one_end(fleet, names, job, 240.0)
    return job


async def _sides(fleet: SmallFleet, names: Sequence[str], job: str) -> tuple[set[NodeId], set[NodeId]]:
    """The ids of the nodes of each island."""
    seen = (await play.log(fleet, names[0], job)).job.contributions
    near = set(names[: len(names) // 2])
    ids = [{bytes.fromhex(c.id) for c in seen if (c.node in near) == side} for side in (True, False)]
    return ids[0], ids[1]


async def _divide(fleet: SmallFleet, names: Sequence[str], job: str) -> None:
    """Cut the islands apart after round BEFORE, heal when both have done APART rounds. The trainers of an
    island that is ahead are stopped until all hold the merge: both are to do the same number of rounds. They
    meet when both are at rest: a round that is committed while they merge is merged apart, as one round."""
    near, far = names[: len(names) // 2], names[len(names) // 2 :]
    await until_round(fleet, near[0], job, BEFORE, 120.0)
    await fleet.net.apply(Partition((tuple(near), tuple(far))))
    healed_s = asyncio.get_running_loop().time() + CUT_S
    stopped = _stop(fleet, near)
    await until_round(fleet, far[0], job, BEFORE + 1, ROUND_LIMIT_S)
    _go_on(stopped)

    async def alone(island: Sequence[str]) -> list[psutil.Process]:
        await until_round(fleet, island[0], job, BEFORE + APART, ROUND_LIMIT_S)
        stopped = _stop(fleet, island)
        await _until_at_rest(fleet, island, job)
        return stopped

    both = await asyncio.gather(alone(near), alone(far))
    await asyncio.sleep(max(0.0, healed_s - asyncio.get_running_loop().time()))
    await fleet.net.apply(Heal())
    await until("one head on all nodes", lambda: _same_head(fleet, names, job), BACK_S)
    for stopped in both:
        _go_on(stopped)


async def _until_at_rest(fleet: SmallFleet, island: Sequence[str], job: str) -> None:
    """What was trained before the trainers were stopped is committed, as far as it makes a round."""
    looks: list[str] = []
    told = ""

    async def rests() -> bool:
        nonlocal told
        seen = [v for name in island if (v := await view(fleet, name, job)) is not None]
        # An update of the other island that came before the cut waits here until they meet.
        left = [sum(c.updates_waiting for c in v.contributions if c.node in island) for v in seen]
        told = ", ".join(
            f"{v.head:.8} of round {v.round}, {n} updates wait" for v, n in zip(seen, left, strict=True)
        )
        one = len(seen) == len(island) and len({v.head for v in seen}) == 1 and max(left) < 2
        looks.append(seen[0].head if one else "")
        return "" not in looks[-LOOKS:] and len(looks) >= LOOKS and len(set(looks[-LOOKS:])) == 1

    try:
        await until(f"{', '.join(island)} at rest", rests, BACK_S)
    except AssertionError as e:
        raise AssertionError(f"{e}: {told}") from None


async def _same_head(fleet: SmallFleet, names: Sequence[str], job: str) -> bool:
    seen = [await view(fleet, name, job) for name in names]
    return len({v.head if v is not None else name for name, v in zip(names, seen, strict=True)}) == 1


def _stop(fleet: SmallFleet, names: Sequence[str]) -> list[psutil.Process]:
    trainers = [trainer for name in names if (trainer := play.trainer_of(fleet, name)) is not None]
    for trainer in trainers:
        trainer.suspend()
    return trainers


def _go_on(trainers: Sequence[psutil.Process]) -> None:
    for trainer in trainers:
        trainer.resume()


@dataclass(frozen=True)
class _Found:
    islands: tuple[Point, Point]
    apart: tuple[int, int]
    merge: Point
    after: list[Point]
    merges: int

    def whole(self, since: int, nodes: int) -> Point:
        """The first round from number `since` after the merge that all were in: on a busy machine a round
        may close without a late node, and with one island's updates alone it says nothing of the merge."""
        full = [p for p in self.after[since:] if len(_by(p)) == nodes]
        assert full, f"no round counts everybody: after the merge {self.counted} of {nodes} nodes"
        return full[0]

    @property
    def counted(self) -> list[int]:
        return [len(_by(p)) for p in self.after]


def _points(disk: Kept, head: Point, sides: tuple[set[NodeId], set[NodeId]]) -> _Found:
    """The commits of the story in a history: the islands' last ones, the last merge, those after it."""
    merges = [p for p in disk.graph.ancestors(head.id) if p.is_merge]
    assert merges, "there was no merge"
    merge = max(merges, key=lambda p: len(p.counted))
    after: list[Point] = []
    point = head
    while point.id != merge.id:
        assert len(point.parents) == 1, "the head does not descend from the last merge"
        if point.folded:
            after.insert(0, point)
        point = disk.graph.points[point.parents[0]]
    lines = [[p for p in disk.graph.ancestors(merge.id) if _by(p) and _by(p) <= side] for side in sides]
    tips = [max(line, key=lambda p: (p.round, len(p.counted))) for line in lines]
    return _Found((tips[0], tips[1]), (len(lines[0]), len(lines[1])), merge, after, len(merges))


def _by(point: Point) -> set[NodeId]:
    """Whose updates a commit counts."""
    return {f.node for f in point.folded}


def _measured(disk: Kept, data: Path, seed: int, commit: CommitId) -> float:
    """The accuracy of a commit's parameters, as they are on the disk, on the whole evaluation set."""
    task = load(str(HALVES), {"data": str(data)})
    model = fresh_model(task, seed)
    layout = params.layout_of(model)
    params.load_into(model, layout, disk.arrays(layout, commit))
    m = evaluate(task, model, as_source(task.evaluation_data(), "evaluation_data"))
    return m.accuracy

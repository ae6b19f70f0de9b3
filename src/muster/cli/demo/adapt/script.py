"""What happens in the story, one act after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muster.cli.demo.adapt.company import Company
from muster.cli.demo.adapt.world import CLASSES, LABELS, digits_of
from muster.cli.demo.stories.story import both
from muster.errors import MusterError
from muster.node.api.client import Client
from muster.simulation.faults import Fault

UPRIGHT = 1000  # answers by which each server knows what is usual
BEGIN_RATE, RATE = 60.0, 20.0  # pictures a second
ALL_DIGITS = 150  # requests of them, more than an accuracy is of
LABELS_S = 10.0  # that an owner gives when asked
LATER, LATER_S = 60, 2.0  # labels that follow, on which candidates are checked, and how many a second
RETURN_LABELS, RETURN_LABELS_S = 120, 5.0
# Whatever has not come about by then hangs; on a busy machine each of these takes minutes.
START_S, NOTICE_S, NEED_S, ASK_S, JOB_S, SWAP_S, RETURN_S = 300.0, 300.0, 300.0, 300.0, 900.0, 300.0, 300.0
MERGED_S = 90.0  # for a merge after the job to be in use everywhere, or refused somewhere
ENDED = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Interlude:
    """Something that happens while the job goes on: from a round on, and undone after a while."""

    round: int
    text: str
    faults: Callable[[str], tuple[Fault, ...]]  # of the asker's name
    after_s: float = 0.0
    undone: str = ""
    undoing: Callable[[str], tuple[Fault, ...]] = lambda asker: ()


@dataclass(frozen=True)
class Found:
    """What was found in its course; accuracies are of the newest answers, as the generator saw them."""

    job: str
    noticed_after: dict[str, int]  # requests of each camera since it was turned
    upright: dict[str, float]  # of each node
    turned: dict[str, float]  # of each camera, with the first model
    adapted: dict[str, float]  # the same with the model that all made
    refused: str  # what was said to the bad candidate
    returned_after: int  # labels since it was forced into use


Make = Callable[[Path], Coroutine[Any, Any, Path]]  # the bad candidate, from the file of a model


class Script:
    """Plays the acts on a company."""

    def __init__(
        self, company: Company, folder: Path, make_wrong: Make, interlude: Interlude | None = None
    ) -> None:
        self._company, self._folder = company, folder
        self._make_wrong, self._interlude = make_wrong, interlude
        self._fleet = company.fleet

    async def play(self) -> Found:
        """All of it. Raises MusterError for what does not come about."""
        before = await self._begin()
        noticed, turned = await self._turn()
        job = await self._together()
        exported = await asyncio.to_thread(self._fleet.client().export, job, self._folder / "together")
        making = asyncio.ensure_future(self._make_wrong(Path(exported.paths[0])))
        try:
            adapted = await self._all_digits()
            self._say("somebody trains that model on, where half of the labels are wrong")
            await self._company.until(making.done, "a model is made that nobody should use", SWAP_S)
            refused, labels = await self._wrong(making.result())
        finally:
            making.cancel()
        return Found(job, noticed, before, turned, adapted, refused, labels)

    def _say(self, text: str) -> None:
        self._fleet.say(f"STORY: {text}")

    def _client(self, name: str) -> Client:
        return Client(self._fleet.home(name))

    async def _use(self, name: str, model: Path, *, force: bool = False) -> None:
        client, task = self._client(name), self._company.task
        await asyncio.to_thread(client.use, str(model), task, force=force)

    async def _begin(self) -> dict[str, float]:
        """The first model goes into use everywhere; each server learns what is usual."""
        company, names = self._company, self._fleet.names
        self._say("one model, trained before, goes into use on all nodes: muster use FILE")
        for name in names:
            company.order(name, rate=BEGIN_RATE)
        await company.during(self._use_first(), "the first model is put into use", START_S)
        await company.until(
            lambda: all(company.tally(name).requests >= UPRIGHT for name in names),
            "cameras send pictures of digits to the models on their nodes", START_S,
        )  # fmt: skip
        return self._accuracies(names)

    async def _use_first(self) -> None:
        first = self._folder / "first.safetensors"
        await asyncio.gather(*(self._use(name, first) for name in self._fleet.names))

    def _accuracies(self, names: tuple[str, ...]) -> dict[str, float]:
        return {name: round(self._company.accuracy(name) or 0.0, 3) for name in names}

    async def _turn(self) -> tuple[dict[str, int], dict[str, float]]:
        """Cameras are turned; each notices, and its owner gives the labels that it asks for."""
        company, cameras = self._company, self._company.cameras
        self._say(f"the cameras of {both(cameras)} turn by 60 degrees; each sees four of the ten digits")
        at = {name: company.tally(name).requests for name in cameras}
        for name in self._fleet.names:
            company.order(name, rate=RATE)
        for number, name in enumerate(cameras):
            company.order(name, turned=True, digits=digits_of(number))
        noticed: dict[str, int] = {}

        def all_noticed() -> bool:
            for name in cameras:
                view = company.views.get(name)
                if name not in noticed and view is not None and view.labels_wanted:
                    noticed[name] = company.tally(name).requests - at[name]
                    company.order(name, learn=LABELS, labels_s=LABELS_S)
            return len(noticed) == len(cameras)

        await company.until(
            all_noticed, "nothing has tally the nodes; their models are less certain", NOTICE_S
        )
        await company.until(
            lambda: all(company.tally(name).waiting == 0 for name in cameras),
            f"the owner of each camera gives {LABELS} labels", NEED_S,
        )  # fmt: skip
        return noticed, self._accuracies(cameras)

    def _job(self) -> str | None:
        """The job that cameras take part in."""
        found = [v.job for name, v in self._company.views.items() if name in self._company.cameras and v.job]
        return found[0] if found else None

    async def _together(self) -> str:
        """One of them asks, those that are alike train together, each checks what comes of it."""
        company, cameras = self._company, self._company.cameras
        await company.until(
            lambda: self._job() is not None, "who is alike? one of them asks for a job", ASK_S
        )
        job = self._job()
        assert job is not None
        self._fleet.begin_job(job)
        labelled = False

        def later_labels() -> None:
            nonlocal labelled
            if not labelled and self._fleet.job is not None and self._fleet.job.round >= 1:
                labelled = True
                for name in cameras:
                    company.order(name, check=LATER, labels_s=LATER_S)

        def trained() -> bool:
            later_labels()
            return self._fleet.job is not None and self._fleet.job.state in ENDED

        if self._interlude is not None:
            await self._play(self._interlude, trained)
        await company.until(trained, "the cameras' nodes train together, over the bridge", JOB_S)
        await company.until(
            lambda: all(self._adopted(name) for name in cameras),
            "each node checks the result on labels that it held out", SWAP_S,
        )  # fmt: skip
        end_s = self._fleet.elapsed_s() + MERGED_S
        await company.until(
            lambda: self._one_model() or self._fleet.elapsed_s() >= end_s,
            "what was trained apart is merged, and goes into use", SWAP_S,
        )  # fmt: skip
        return job

    def _one_model(self) -> bool:
        """Whether all cameras' nodes use the same one."""
        views = self._company.views
        return len({views[name].version for name in self._company.cameras}) == 1

    def _adopted(self, name: str) -> bool:
        view = self._company.views.get(name)
        return view is not None and view.reason == "adopted" and self._company.tally(name).swaps > 0

    async def _play(self, interlude: Interlude, trained: Callable[[], bool]) -> None:
        """A fault in the middle of the job, and its end."""
        company, fleet = self._company, self._fleet

        def reached() -> bool:
            return trained() or (fleet.job is not None and fleet.job.round >= interlude.round)

        await company.until(reached, "the cameras' nodes train together", JOB_S)
        assert fleet.job is not None
        asker = fleet.job.asker
        said = interlude.text.format(asker=asker)
        self._say(said)
        for fault in interlude.faults(asker):
            await fleet.net.apply(fault)
        end_s = fleet.elapsed_s() + interlude.after_s
        await company.until(lambda: fleet.elapsed_s() >= end_s, said, JOB_S)
        self._say(interlude.undone.format(asker=asker))
        for fault in interlude.undoing(asker):
            await fleet.net.apply(fault)

    async def _all_digits(self) -> dict[str, float]:
        """Digits come by that each camera never had a label of."""
        company, cameras = self._company, self._company.cameras
        self._say("now all ten digits come by the turned cameras: each knows those that the others had")
        at = {name: company.tally(name).requests for name in cameras}
        for name in cameras:
            company.order(name, digits=tuple(range(CLASSES)))
        await company.until(
            lambda: all(company.tally(name).requests >= at[name] + ALL_DIGITS for name in cameras),
            "all ten digits come by", NOTICE_S,
        )  # fmt: skip
        return self._accuracies(cameras)

    async def _wrong(self, wrong: Path) -> tuple[str, int]:
        """A candidate from half-wrong labels is refused, forced in, and goes back by itself."""
        company, name = self._company, self._company.cameras[-1]
        self._say(f"that model is offered to {name}: muster use wrong.safetensors")
        try:
            await company.during(self._use(name, wrong), f"{name} checks it", SWAP_S)
        except MusterError as error:
            if error.code != "refused":
                raise
            refused = error.sentence
        else:
            raise MusterError("failed", f"{name} took a model from half-wrong labels into use")
        self._fleet.say(f"{name} refuses: {refused}")
        self._say(f"somebody knows better: muster use --force wrong.safetensors, on {name}")
        swaps = company.tally(name).swaps
        await company.during(self._use(name, wrong, force=True), f"{name} has to use it", SWAP_S)
        await company.until(lambda: company.tally(name).swaps > swaps, f"{name} has to use it", SWAP_S)
        at = company.tally(name).labelled_at_swap
        company.order(name, check=RETURN_LABELS, labels_s=RETURN_LABELS_S)
        await company.until(
            lambda: company.views[name].reason == "returned" and company.tally(name).swaps > swaps + 1,
            f"labels tell what the model on {name} is worth, beside the former one", RETURN_S,
        )  # fmt: skip
        return refused, company.tally(name).labelled_at_swap - at

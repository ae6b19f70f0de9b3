"""What was trained while the disk is full is kept once there is room, whatever ends the trainer's session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from small_field import SmallField

from muster.job.coordinator.evaluation import HeadEvaluator
from muster.job.participant.loop import Participant
from muster.job.participant.trainer_slot import LEASE_S
from muster.network.supervisor import Pulse
from muster.protocol.ids import JobId
from muster.simulation.trainers.linear import LinearTrainer
from muster.simulation.virtual.event_loop import run
from muster.storage.memory import MemoryStore


class FillingTrainer(LinearTrainer):
    """The disk of node b is full when its first training for the first job is done."""

    disk: MemoryStore
    first: JobId
    trained = 0  # by b for the first job

    async def train(self, *arguments: Any) -> Any:
        result = await super().train(*arguments)
        if self._store is self.disk and self.job == self.first:
            if not self.trained:
                self.disk.fill()
            FillingTrainer.trained += 1
        return result


async def filled(monkeypatch: pytest.MonkeyPatch) -> tuple[SmallField, JobId]:
    """Two nodes with two jobs, of which the first one's update waits for room on b's disk."""
    field = SmallField("ab", FillingTrainer)
    monkeypatch.setattr(FillingTrainer, "disk", field.stores["b"], raising=False)
    monkeypatch.setattr(FillingTrainer, "first", b"", raising=False)
    monkeypatch.setattr(FillingTrainer, "trained", 0)
    await field.start()
    job = FillingTrainer.first = field.ask("a", min_nodes=2, patience_s=100.0)
    field.ask("a")
    assert await field.until(lambda: FillingTrainer.trained > 0, 60.0)
    return field, job


async def ends_well(field: SmallField, job: JobId) -> None:
    """There is room: both jobs end, and each training of b is an update."""

    def ended() -> bool:
        return all(
            r.state() == "finished" for core in field.cores.values() for r in core.jobs.runners.values()
        )

    field.stores["b"].free()
    assert await field.until(ended, 900.0)
    b = field.cores["b"].node
    kept = [key for key in field.runner("b", job).view.updates if key.node == b]
    assert len(kept) == FillingTrainer.trained
    await field.close()


def test_the_trainer_goes_to_no_other_job_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        field, job = await filled(monkeypatch)
        await asyncio.sleep(LEASE_S + 20.0)
        assert not any("gives the trainer" in text for text in field.said("b"))
        await ends_well(field, job)

    run(main(), until_s=7200)


def test_a_trainer_that_dies_meanwhile_takes_nothing_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, killed = HeadEvaluator.run, list[bool]()

    async def until_killed(self: HeadEvaluator, participant: Participant, pulse: Pulse) -> None:
        work = asyncio.create_task(evaluate(self, participant, pulse))
        while not work.done() and (killed or not participant.waits_for_room):
            await asyncio.sleep(0.5)
        if work.done():
            return work.result()
        killed.append(True)
        work.cancel()
        raise ChildProcessError("killed")

    monkeypatch.setattr(HeadEvaluator, "run", until_killed)

    async def main() -> None:
        field, job = await filled(monkeypatch)
        await asyncio.sleep(30.0)
        assert killed
        await ends_well(field, job)

    run(main(), until_s=7200)

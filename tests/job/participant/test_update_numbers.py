"""An update's number is its own, also where a session that has ended keeps its last one late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from small_field import LAYOUT, SmallField

from muster.compression.model import decode_update
from muster.job.context import TrainingResult
from muster.job.models import residuals
from muster.job.models.payloads import payload_bytes
from muster.job.participant.update_writer import UpdateWriter
from muster.protocol.parts import StopRule
from muster.protocol.records import Update
from muster.simulation.trainers.linear import facts_of
from muster.simulation.virtual.event_loop import run


def trained(seed: int) -> TrainingResult:
    update = np.random.default_rng(seed).normal(size=40).astype(np.float32)
    return TrainingResult(4, 40, 0.5, 0.01, {"w": update})


async def slowly(call: Callable[..., Any], *arguments: Any) -> Any:
    """Heavy work that takes its time: both writers have read the counters before either of them writes."""
    await asyncio.sleep(1.0)
    return call(*arguments)


@pytest.mark.parametrize("codec", ["dense32", "stc:0.05"])
def test_two_updates_that_are_encoded_at_once_have_two_numbers_and_lose_nothing(codec: str) -> None:
    async def main() -> None:
        field = SmallField("ab", offload=slowly)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=1))
        assert await field.until(lambda: field.runner("a", job).state() == "finished", 120.0)
        await asyncio.sleep(60.0)
        core, runner = field.cores["a"], field.runner("a", job)
        plan = next(p for plans in runner.view.plans.values() for p in plans.values())
        piece = next(a for a in plan.record.assignments if a.node == core.node)
        before = residuals.load(core.store, "up", job)
        known = set(runner.view.updates)
        facts = facts_of(LAYOUT, 50, True)
        late, new = (UpdateWriter(core.context, runner.view, runner.models, facts) for _ in range(2))
        keeping: list[Awaitable[Callable[[], None]]] = [
            late.keep_update(plan, piece, codec, trained(1)),
            new.keep_update(plan, piece, codec, trained(2)),
        ]
        for announce in await asyncio.gather(*keeping):
            announce()
        made = [u.record for key, u in runner.view.updates.items() if key not in known]
        numbers = sorted(u.sequence for u in made if isinstance(u, Update))
        assert len(numbers) == 2
        assert numbers[1] == numbers[0] + 1
        assert numbers[0] == max(key.sequence for key in known if key.node == core.node) + 1
        sent = [decode_update(LAYOUT, payload_bytes(core.store, u.payload))["w"] for u in made]
        left = residuals.load(core.store, "up", job)
        whole = sum(sent) + (0.0 if left is None else left)
        expected = trained(1).update["w"] + trained(2).update["w"] + (0.0 if before is None else before)
        np.testing.assert_allclose(whole, expected, atol=1e-5)
        await field.close()

    run(main(), until_s=3600)

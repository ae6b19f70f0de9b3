"""What a coordinator writes into a commit is a record that everybody takes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from small_field import SmallField

from muster.job.coordinator.commit_writer import RoundEnd
from muster.protocol.parts import Cost, Discarded, Payload, Steering, StopRule
from muster.simulation.virtual.event_loop import run


def test_what_is_discarded_stands_in_the_order_of_keys_whoever_found_it() -> None:
    """The round discards what nobody asked for, the sum what does not fit (seed 362 of 7e5300f)."""

    async def main() -> None:
        field = SmallField("abc", step_s=0.5)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=2))
        runner = field.runner("a", job)
        assert await field.until(lambda: runner.state() == "finished", 2000.0)
        root = next(iter(runner.view.graph.points.values()))
        first, second, last = sorted(runner.view.uncounted(root.counted), key=lambda u: u.key)[:3]
        bad = msgspec.structs.replace(first.record, payload=Payload("quant8", 4, inline=b"abcd"))
        end = RoundEnd("quant8", 0.0, lambda update: Cost(900, 500, 60, "quant8", 9), (), Steering(20))
        asked = [replace(first, record=bad), second]
        unasked = (Discarded(*last.key, "it was not asked for"),)
        assert await runner.commits.commit(root, asked, unasked, end, lambda: True) is not None
        made = list(runner.view.graph.points.values())[-1].record
        assert [d.sequence for d in made.discarded] == [first.key.sequence, last.key.sequence]
        assert [d.node for d in made.discarded] == [first.key.node, last.key.node]
        await field.close()

    run(main(), until_s=36_000)

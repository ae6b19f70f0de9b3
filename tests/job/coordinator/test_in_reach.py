"""Whom a round asks when more nodes are in reach than one commit can count."""

from __future__ import annotations

import pytest
from small_field import SmallField, commits

from muster.job.coordinator import in_reach, rounds
from muster.protocol.parts import StopRule
from muster.simulation.virtual.event_loop import run


def test_a_round_takes_as_many_as_fit_and_everybody_has_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (in_reach, rounds):
        monkeypatch.setattr(module, "ROUND_NODES_MAX", 2)

    async def main() -> None:
        field = SmallField("abcde")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=12))
        assert await field.until(lambda: field.round("a", job) >= 12, 600.0)
        made = list(commits(field, "a", job))
        assert max(len({f.node for f in c.folded if f.staleness == 0}) for c in made[:-2]) == 2
        examples = {s.node: s.examples for s in made[0].spent}
        assert examples.keys() == {core.node for core in field.cores.values()}
        assert max(examples.values()) <= 3 * min(examples.values())
        await field.close()

    run(main(), until_s=36_000)

"""Joules flow from what nodes draw over their updates into the head, and into what is shown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from small_field import SmallField

from muster.job.context import Policy
from muster.job.owner.allowance import OwnerLimits
from muster.node.api.peer_views import peers
from muster.node.api.rounds.views import rounds
from muster.node.api.rows.state_stream import Watcher
from muster.node.api.snapshot_builder import job_view
from muster.node.energy.account import EnergyAccount
from muster.node.energy.meters import PowerModel
from muster.node.energy.presets import Radio
from muster.protocol.ids import JobId
from muster.protocol.parts import Power, StopRule
from muster.protocol.records import Update
from muster.simulation.virtual.event_loop import run

POWERS = {"a": Power(1.0, 6.0), "b": Power(0.5, 3.0, 1e-3, 1e-3, 0.25)}  # c knows nothing


def own() -> dict[str, Any]:
    return {"version": "1", "home": "/h", "pid": 1, "listen": [], "began_t": 0.0, "tasks": []}


def accounts() -> dict[str, EnergyAccount]:
    now = asyncio.get_running_loop().time

    def account(p: Power) -> EnergyAccount:
        radio = Radio(p.sent_j_byte, p.received_j_byte, p.exchange_j)
        return EnergyAccount(PowerModel(p.idle_w, p.train_w), radio, now=now)

    return {name: account(power) for name, power in POWERS.items()}


async def trained(field: SmallField, last: int = 4) -> JobId:
    await field.start()
    job = field.ask("a", stop=StopRule(rounds=last), min_nodes=3)
    assert await field.until(lambda: field.runner("a", job).finished() is not None, 300)
    assert await field.until(lambda: field.round("c", job) == last, 60)
    return job


def test_joules_arrive_in_the_heads_counters_and_in_what_is_shown() -> None:
    async def main() -> None:
        field = SmallField("abc", energy=accounts())
        job = await trained(field)
        runner = field.runner("c", job)
        head = runner.head()
        assert head is not None
        node = {n: core.node for n, core in field.cores.items()}
        updates = [(k.node, u.record) for k, u in runner.view.updates.items()]
        spent = {s.node: s.joules for s in head.spent}
        for name in "ab":
            said_mj = [u.millijoules for n, u in updates if n == node[name]]
            said = sum(said_mj) / 1000
            assert spent[node[name]] == pytest.approx(said)
            assert 0 < said <= field.cores[name].energy.used_j()
            # each of the four steps of a round takes 0.01 s of training, and rounds take longer than that
            assert min(said_mj) >= 1000 * 0.04 * POWERS[name].train_w
        assert spent[node["c"]] == 0.0
        assert {n: o.power for n, o in runner.view.offers.items()} == {
            node["a"]: POWERS["a"], node["b"]: POWERS["b"], node["c"]: None
        }  # fmt: skip

        total = sum(spent.values())
        view = job_view(field.cores["c"], runner, None)
        assert view.joules == pytest.approx(total, abs=0.001)
        assert [c.node for c in view.contributions if c.joules is not None] == ["a", "b"]
        shown = {p.name: p.power for p in peers(field.cores["c"])}
        assert shown["b"] is not None
        assert (shown["b"].train_w, shown["b"].exchange_j) == (3.0, 0.25)

        assert rounds(field.cores["c"], runner, "", 0).rounds[-1].joules == view.joules
        rows = Watcher(field.cores["c"], own).look(asyncio.get_running_loop().time())
        assert rows["jobs"][job.hex()]["joules"] == view.joules
        assert rows["commits"][head.id.hex()]["joules"] == view.joules
        assert rows["nodes"]["a"]["power"]["train_w"] == 6.0
        assert rows["nodes"]["c"]["power"] is None
        given = {row["node"]: row["joules"] for row in rows["contributions"].values()}
        assert given["a"] == pytest.approx(spent[node["a"]], abs=0.001)
        await field.close()

    run(main())


def test_waiting_is_charged_from_update_to_update() -> None:
    async def main() -> None:
        field = SmallField("abc", energy=accounts())
        job = await trained(field, 2)
        view = field.runner("a", job).view
        updates: list[Update] = [u.record for k, u in view.updates.items() if k.node == field.cores["a"].node]
        first, second = sorted(updates, key=lambda u: u.sequence)[:2]
        turnaround_s = field.runner("a", job).head().age_s  # type: ignore[union-attr]
        for update in (first, second):
            idle_s = (update.millijoules / 1000 - 0.04 * 6.0) / 1.0
            assert 0 < idle_s < turnaround_s + 20
        await field.close()

    run(main())


def test_nobody_knows_anything_and_nothing_is_made_up() -> None:
    async def main() -> None:
        field = SmallField("abc")
        job = await trained(field, 2)
        runner = field.runner("b", job)
        assert all(u.record.millijoules == 0 for u in runner.view.updates.values())
        assert job_view(field.cores["b"], runner, None).joules is None
        await field.close()

    run(main())


class Slow:
    """A meter that takes a while to show what a node draws."""

    name, settles_s = "a slow one", 1.2

    def used_j(self, elapsed_s: float, training: float) -> float | None:
        return (8.0 if training else 2.0) * elapsed_s


def test_a_node_offers_again_when_its_meter_has_shown_what_it_draws() -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time
        field = SmallField("abc", energy={"b": EnergyAccount(Slow(), now=now)})
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=20), min_nodes=3)
        b = field.cores["b"].node
        view = field.runner("a", job).view
        assert await field.until(lambda: b in view.offers, 60)
        assert view.offers[b].power is None
        assert await field.until(lambda: view.offers[b].power is not None, 120)
        assert view.offers[b].power == Power(2.0, 8.0)
        number = view.offers[b].number
        assert await field.until(lambda: field.runner("a", job).finished() is not None, 300)
        assert view.offers[b].number == number
        await field.close()

    run(main())


def test_who_lets_others_compute_half_of_the_time_draws_half_of_what_training_adds() -> None:
    async def main() -> None:
        half = Policy(owner=OwnerLimits(cpu_share=0.5))
        field = SmallField("ab", policy=half, energy=accounts())
        await field.start()
        view = field.runner("a", field.ask("a", min_nodes=2)).view
        assert await field.until(lambda: len(view.offers) == 2, 60)
        watts = {field.cores[n].node: w for n, w in {"a": 6.0, "b": 0.5 + 0.5 * 2.5}.items()}
        assert {n: o.power and o.power.train_w for n, o in view.offers.items()} == watts
        await field.close()

    run(main())


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (StopRule(joules=8.0), ("J are left", " J of 8 J spent")),
        (StopRule(joules_node=2.0), ("that each may", "have spent what they may")),
    ],
)
def test_a_job_ends_by_its_budget_of_joules(rule: StopRule, said: tuple[str, ...]) -> None:
    async def main() -> None:
        field = SmallField("ab", energy=accounts())
        await field.start()
        job = field.ask("a", stop=rule)
        assert await field.until(lambda: all(field.runner(n, job).finished() for n in "ab"), 600.0)
        for name in "ab":
            why = field.runner(name, job).finished()
            assert str(why).endswith(said)
        await field.close()

    run(main(), until_s=3600)

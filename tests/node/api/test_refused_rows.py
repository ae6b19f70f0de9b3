"""Whose records are refused is counted for each member: in `muster nodes --json`, and in the page's rows."""

from __future__ import annotations

import asyncio

from two_branches import Field

from muster.network.sync.messages import Announce, pack_announce
from muster.network.transport.offences import CUT_FROM
from muster.network.trust.signing import seal
from muster.node.api.peer_views import peers
from muster.node.api.rows.node_rows import Names, node_rows
from muster.node.core import Core
from muster.protocol.records import Refusal
from muster.simulation.identities import PretendIdentity
from muster.simulation.virtual.event_loop import run

FACTS = {"version": "1", "home": "/h", "pid": 1, "listen": [], "began_t": 0.0, "tasks": []}


def impossible(core: Core, number: int) -> bytes:
    """Announces a record of the node itself that nobody takes."""
    _, wire = seal(PretendIdentity(core.name), Refusal(b"j" * 32, -1 - number, 1, "no"))
    return pack_announce(Announce(1, 0, [], [wire], b""), core.store.incarnation)


def seen(core: Core) -> tuple[dict[str, tuple[int, bool]], dict[str, tuple[int, bool]]]:
    """(refused, cut off) of each member, by the snapshot and by the rows."""
    views = {p.name: (p.refused, p.cut_off) for p in peers(core)}
    rows = node_rows(core, Names(core), FACTS, None, {}, lambda node, job: None)
    return views, {r["name"]: (r["refused"], r["cut_off"]) for r in rows.values()}


def test_refusals_are_counted_by_their_author() -> None:
    async def scene() -> None:
        field = Field()
        for core in field.cores:
            await core.start()
        await asyncio.sleep(20)
        bravo = field.bravo
        for number in range(CUT_FROM + 10):
            bravo.link.nudge(field.ids[0], "n", impossible(bravo, number))
            await asyncio.sleep(0.05)
            if number == 2:
                views, rows = seen(field.alpha)
                assert views["bravo"] == rows["bravo"] == (3, False)
        views, rows = seen(field.alpha)
        assert views["bravo"] == rows["bravo"] == (CUT_FROM, True)
        assert views["carol"] == rows["carol"] == rows["alpha"] == (0, False)
        await field.close()

    run(scene(), 10_000)

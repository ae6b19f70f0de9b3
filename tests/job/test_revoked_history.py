"""A member is revoked in one part of a fleet that is cut in two, and works on in the other."""

from __future__ import annotations

from small_field import SmallField

from muster.network.trust.signing import seal
from muster.protocol.ids import NodeId
from muster.protocol.parts import StopRule
from muster.protocol.records import Revocation
from muster.simulation.identities import OWNER
from muster.simulation.virtual.event_loop import run


def test_a_revocation_that_one_half_hears_first_ends_in_one_history() -> None:
    """c is revoked where a and b are; d, which has not heard of it, goes on with c, which coordinates."""

    async def main() -> None:
        field = SmallField("abcd")
        await field.start()
        node = {name: core.node for name, core in field.cores.items()}
        job = field.ask("c", stop=StopRule(rounds=400), min_nodes=2)
        assert await field.until(lambda: min(field.round(n, job) for n in "abcd") >= 3, 100)
        for one in "ab":
            for other in "cd":
                field.network.cut(node[one], node[other])
        assert await field.until(lambda: field.round("d", job) >= 12, 200)
        revocation = Revocation(node["c"], "left in a train", "c")
        field.cores["a"].ledger.receive(seal(OWNER, revocation)[1], b"")
        assert await field.until(lambda: acting(field, job) <= {node["a"], node["d"], node["c"]}, 60)
        before = {n: field.round(n, job) for n in "abd"}
        assert await field.until(lambda: field.round("a", job) > before["a"] + 3, 200)
        for one in "ab":  # d comes back with what it and c made; c stays away
            field.network.heal(node[one], node["d"])
        assert await field.until(lambda: heads(field, "abd", job) and field.round("d", job) >= 60, 1500)
        counted = [field.runner(n, job).head().counted for n in "abd"]  # type: ignore[union-attr]
        graph = field.runner("a", job).view.graph
        assert any(p.author == node["c"] and p.round > 5 for p in graph.points.values())
        theirs = {key for key in counted[0] if key.node == node["d"]}
        assert len(theirs) > 10  # also what it made with c
        for name in "abd":
            view = field.runner(name, job).view
            assert node["c"] not in view.offers
            assert field.cores[name].presence.age_s(node["c"]) is None
        assert not acting(field, job) & {node["c"]}
        await field.close()

    run(main(), until_s=20_000)


def acting(field: SmallField, job: bytes) -> set[NodeId]:
    return {field.cores[n].node for n in "abd" if field.runner(n, job).acting}


def heads(field: SmallField, names: str, job: bytes) -> bool:
    """Whether these nodes have one head, and all that the others have."""
    found = {field.runner(n, job).head().id for n in names}  # type: ignore[union-attr]
    return len(found) == 1

"""What a node shows of others: by their heartbeats, and by what they offer or refuse.

What its owner lets others use is shown of this node, too.
"""

from __future__ import annotations

import msgspec

from muster.network.sync.heartbeat import STATES
from muster.node.api.snapshot import LeftView, PeerView, PowerView
from muster.node.core import Core
from muster.planning.presence import heard_again, share_here
from muster.protocol.ids import NodeId
from muster.protocol.parts import Power


def left_view(core: Core, node: NodeId) -> LeftView | None:
    """What is left of a node for others' jobs today; None: no limit is known."""
    found = _own(core) if node == core.node else _offered(core, node)
    return None if found == LeftView() else found


def _own(core: Core) -> LeftView:
    left, allowance = core.allowance.left(), core.allowance
    return LeftView(left.bytes, left.joules, left.available_s, allowance.why_not() or "")


def _offered(core: Core, node: NodeId) -> LeftView:
    """By its last answer to a job that goes on."""
    for runner in reversed(core.jobs.runners.values()):
        if runner.finished() is not None:
            continue
        offer, why = runner.view.offers.get(node), runner.view.refusals.get(node, "")
        if offer is not None or why:
            parts = (offer.bytes_left, offer.joules_left, offer.available_s) if offer else (None, None, None)
            return LeftView(*parts, why)
    return LeftView()


def power_view(power: Power | None) -> PowerView | None:
    """What a node draws, as it offered it."""
    return None if power is None else PowerView(**msgspec.structs.asdict(power))


def peers(core: Core) -> list[PeerView]:
    """Every known member of the fleet by its last heartbeat."""
    offers = {node: offer for r in core.jobs.runners.values() for node, offer in r.view.offers.items()}
    views = []
    for node in sorted(core.trust.members(), key=core.trust.name):
        if node == core.node:
            continue
        heard = core.presence.table.get(node[:8])
        age_s = core.presence.age_s(node)
        reachable = node in core.link.neighbours() or core.heard_lately(node)
        spells = core.presence.spells(node)
        again = None if reachable else heard_again(spells)
        views.append(
            PeerView(
                id=node.hex(),
                name=core.trust.name(node),
                revoked=core.trust.why_revoked(node) if core.trust.revoked(node) else None,
                state=STATES[heard.heartbeat.state] if heard else "unknown",
                progress=heard.heartbeat.progress / 100 if heard else 0.0,
                heard_s=age_s,
                battery=heard.heartbeat.battery / 100 if heard and heard.heartbeat.battery <= 100 else None,
                step_s=offers[node].step_s if node in offers else None,
                power=power_view(offers[node].power) if node in offers else None,
                reachable=reachable,
                refused=core.ledger.refusals.by_author.get(node, 0),
                later=core.ledger.later.sentence(node),
                cut_off=core.exchange.shared.cut_off(node),
                left=left_view(core, node),
                here=round(share_here(spells), 3) if spells.away_s else None,
                back_s=again.likely_s if again is not None else None,
            )
        )
    return views

"""What is wrong with who is who in the fleet, as far as a node knows, in sentences."""

from __future__ import annotations

from muster.node.core import Core
from muster.node.revocations import REVOKED_HERE, same_name
from muster.node.twins import CLONED_HERE


def warnings(core: Core) -> list[str]:
    """That this node is out, that a key is used twice, and which names are."""
    found, trust = [], core.trust
    if trust.revoked(core.node):
        found.append(REVOKED_HERE.format(trust.why_revoked(core.node)))
    if core.presence.cloned:
        found.append(CLONED_HERE)
    for node in sorted(core.link.twins()):
        found.append(f"two processes use the bundle of {trust.name(node)}: stop one, or have it revoked")
    return found + [same_name(name, ids) for name, ids in sorted(trust.namesakes().items())]

"""Members of the fleet by what a user calls them."""

from __future__ import annotations

from collections.abc import Iterable

from muster.errors import MusterError
from muster.node.api.inspection import is_prefix
from muster.node.core import Core
from muster.protocol.ids import NodeId, short


def named(core: Core, names: Iterable[str]) -> tuple[NodeId, ...]:
    """The members of these names, or with ids that begin so, sorted. Raises MusterError."""
    return tuple(sorted({_named(core, name) for name in names}))


def _named(core: Core, name: str) -> NodeId:
    members = core.trust.members()
    found = [node for node, member in members.items() if member.name == name]
    if not found and is_prefix(name):
        found = [node for node in members if node.hex().startswith(name.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(sorted(map(short, found)))
        raise MusterError("usage", f"several nodes are called {name!r} ({ids}): give one's id")
    raise MusterError("usage", f"this node knows no node {name!r}: `muster nodes` lists them")

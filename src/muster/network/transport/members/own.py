"""Where a node can be dialled: its listening endpoints, on the interfaces that there are now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from muster.network.transport.endpoints import Endpoint
from muster.network.transport.lan.interfaces import Interface
from muster.network.transport.members.book import ENDPOINTS_MAX, dialled


def own_endpoints(listening: Iterable[Endpoint], interfaces: Iterable[Interface]) -> list[str]:
    """As others would dial them, IPv4 first; addresses that are good on one interface only are left out."""
    found: dict[str, None] = {}
    addresses = [address for one in interfaces if one.running for address in one.addresses]
    for point in listening:
        for host in _addresses(point, addresses):
            text = str(Endpoint(host, point.port))
            if dialled(text) is not None:
                found[text] = None
    return sorted(found, key=lambda text: text.startswith("["))[:ENDPOINTS_MAX]


def _addresses(point: Endpoint, present: Sequence[str]) -> list[str]:
    if point.host == "::":
        return list(present)
    if point.host == "0.0.0.0":
        return [address for address in present if ":" not in address]
    return [point.host]

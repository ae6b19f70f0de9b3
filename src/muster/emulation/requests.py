"""The requests of an emulation's control socket: they read and change a running emulation.

{"op": "nodes"}                                         name, address, condition of every node
{"op": "links"}                                         parameters and counters of every direction
{"op": "scenario"}                                      name, text, links as they were at first
{"op": "set", "a": "delta", "b": "echo", "params": {"rate_kbit_s": 64}, "both": true}
{"op": "fault", "fault": {"fault": "cut", "a": "delta", "b": "echo"}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from muster.control.server import ControlServer
from muster.emulation.radio.model import LinkCount, LinkParams
from muster.emulation.scenario import Scenario
from muster.simulation import faults
from muster.simulation.faults import Fault, Pair

LINE_BYTES_MAX = 16 * 1024 * 1024
CLIENTS_MAX = 32


class Controlled(Protocol):
    """What the requests need of the emulation."""

    @property
    def scenario(self) -> Scenario: ...

    def condition(self, node: str) -> dict[str, Any]: ...

    def elapsed_s(self) -> float: ...

    def params(self) -> dict[Pair, LinkParams]: ...

    async def counters(self) -> dict[Pair, LinkCount]: ...

    async def set_link(self, a: str, b: str, params: LinkParams, *, both: bool = True) -> None: ...

    async def apply(self, fault: Fault) -> None: ...


class _SetLink(msgspec.Struct):
    """The arguments of `set`; parameters that are not named stay as they are."""

    a: str
    b: str
    params: dict[str, Any] = {}
    both: bool = True


def control_server(path: Path, net: Controlled) -> ControlServer:
    """The control socket of `net` at `path`, not yet open."""

    async def nodes(_: dict[str, Any]) -> Any:
        return {
            "nodes": [net.condition(name) for name in net.scenario.names()],
            "elapsed_s": net.elapsed_s(),
        }

    async def links(_: dict[str, Any]) -> Any:
        counts = await net.counters()
        return {"links": _rows(net.params(), {pair: {"count": count} for pair, count in counts.items()})}

    async def scenario(_: dict[str, Any]) -> Any:
        first = net.scenario
        return {"name": first.name, "text": first.text, "links": _rows(first.directions(), {})}

    async def set_link(arguments: dict[str, Any]) -> Any:
        given = msgspec.convert(arguments, _SetLink)
        known = msgspec.to_builtins(net.params().get((given.a, given.b), LinkParams()))
        params = msgspec.convert({**known, **given.params}, LinkParams)
        await net.set_link(given.a, given.b, params, both=given.both)
        return {}

    async def fault(arguments: dict[str, Any]) -> Any:
        await net.apply(faults.from_dict(arguments.get("fault", {})))
        return {}

    return ControlServer(
        path,
        {"nodes": nodes, "links": links, "scenario": scenario, "set": set_link, "fault": fault},
        owner="the emulation",
        request_bytes_max=LINE_BYTES_MAX,
        connections_max=CLIENTS_MAX,
    )


def _rows(
    links: Mapping[Pair, LinkParams], more: Mapping[Pair, dict[str, LinkCount]]
) -> list[dict[str, Any]]:
    """A row a direction, as plain values; `more` adds columns."""
    return [
        {
            "a": a,
            "b": b,
            "params": msgspec.to_builtins(params),
            **msgspec.to_builtins(more.get((a, b), {})),
        }
        for (a, b), params in links.items()
    ]

"""What the control socket's requests do to a running emulation (`control` says how they look)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from muster.emulation.radio.model import LinkParams
from muster.errors import MusterError
from muster.simulation import faults

if TYPE_CHECKING:
    from muster.emulation.emulator import Emulation


async def answer(net: Emulation, request: dict[str, Any]) -> dict[str, Any]:
    match request.get("do"):
        case "nodes":
            return {
                "nodes": [net.condition(name) for name in net.scenario.names()],
                "elapsed_s": net.elapsed_s(),
            }
        case "links":
            counts = await net.counters()
            return {
                "links": [
                    {
                        "a": a,
                        "b": b,
                        "params": msgspec.to_builtins(params),
                        "count": msgspec.to_builtins(counts[a, b]),
                    }
                    for (a, b), params in net.params().items()
                ]
            }
        case "scenario":
            return {
                "name": net.scenario.name,
                "text": net.scenario.text,
                "links": [
                    {"a": a, "b": b, "params": msgspec.to_builtins(params)}
                    for (a, b), params in net.scenario.directions().items()
                ],
            }
        case "set":
            a, b = str(request.get("a")), str(request.get("b"))
            known = msgspec.to_builtins(net.params().get((a, b), LinkParams()))
            params = msgspec.convert({**known, **request.get("params", {})}, LinkParams)
            await net.set_link(a, b, params, both=bool(request.get("both", True)))
            return {}
        case "fault":
            await net.apply(faults.from_dict(request.get("fault", {})))
            return {}
        case other:
            raise MusterError(
                "usage", f"unknown request {other!r}; there are nodes, links, scenario, set, fault"
            )

"""The emulation where namespaces cannot be had: programs run side by side, links are shaped UDP relays.

What it cannot do: there is no separation (a program that talks to another node's real address goes round the
radio), only UDP to one port is carried, there is no broadcast, and two emulations need two ports.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from muster.emulation.emulator import GRACE_S, Emulation
from muster.emulation.radio import relay
from muster.emulation.radio.carrier import probe
from muster.emulation.scenario import Scenario

PORT = 7447


class LoopbackEmulation(Emulation):
    """As Emulation; node n must listen on `address(n)`:`port` and connect to `neighbours(n)`, same port."""

    _CARRIER_MODULE = "muster.emulation.radio.relay"
    _SETUP_ERROR = "port_in_use"

    def __init__(
        self, scenario: Scenario, rundir: Path, *, grace_s: float = GRACE_S, port: int = PORT
    ) -> None:
        super().__init__(scenario, rundir, grace_s=grace_s)
        self._port = port
        self._mark = secrets.token_hex(8)

    def _setup_extra(self) -> dict[str, object]:
        return {"port": self._port, "mark": self._mark}

    def _namespace_arguments(self, node: str) -> list[str]:
        return ["0", "0", "0"]

    def _environment(self, number: int, env: Mapping[str, str] | None) -> dict[str, str]:
        return {**super()._environment(number, env), relay.MARK: f"{self._mark}.{number}"}

    def address(self, node: str) -> str:
        return relay.address_of(self._number(node))

    def neighbours(self, node: str) -> list[str]:
        here = self._number(node)
        return [relay.seen_by(here, self._numbers[name]) for name in self._linked(node)]


def choose(scenario: Scenario, rundir: Path, *, port: int = PORT) -> tuple[Emulation, str | None]:
    """An emulation in namespaces where that is possible, else on loopback with one sentence for people.

    Tries it out in a process of its own (0.2 s, blocking).
    """
    refusal = probe()
    if refusal is None:
        return Emulation(scenario, rundir), None
    return (
        LoopbackEmulation(scenario, rundir, port=port),
        f"Running on loopback with shaped proxies: {refusal}.",
    )

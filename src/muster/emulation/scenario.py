"""A scenario: the network to emulate, as frozen values (`scenario_file` reads them from TOML)."""

from __future__ import annotations

import msgspec

from muster.emulation.radio.model import LinkParams
from muster.node.energy.settings import EnergyConfig
from muster.node.policy import PolicyConfig
from muster.simulation.faults import Fault, Pair


class Away(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A duty cycle: the radio is off for the first `fraction` of each period; `phase_s` shifts it."""

    period_s: float  # of the cycle
    fraction: float  # 0..1: of each period, away at its beginning
    phase_s: float = 0.0  # by how much the first cycle begins later

    def away_at(self, now_s: float) -> bool:
        """Whether the radio is off at this time."""
        return (now_s - self.phase_s) % self.period_s < self.fraction * self.period_s

    def next_change_s(self, now_s: float) -> float:
        """Seconds from `now_s` until the node leaves or returns."""
        into_s = (now_s - self.phase_s) % self.period_s
        off_s = self.fraction * self.period_s
        return (off_s if into_s < off_s else self.period_s) - into_s


class NodeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node: its compute takes `slowdown` times as long as this machine's; `data` is up to the task."""

    name: str  # letters, digits, hyphens and underscores
    slowdown: float = 1.0  # at least 1: its computing takes so many times as long as this machine's
    energy: EnergyConfig | None = None  # as [energy] in node.toml; none: mains, and none is counted
    policy: PolicyConfig | None = None  # as [policy] in node.toml
    away: Away | None = None  # see below; none: always there
    data: dict[str, str | int | float | bool | list[int]] = {}  # options of the task on this node


class LinkSpec(msgspec.Struct, frozen=True):
    """Both directions of a link."""

    a: str
    b: str
    there: LinkParams  # a -> b
    back: LinkParams  # b -> a


class Group(msgspec.Struct, frozen=True):
    """Nodes that are all linked with each other."""

    name: str
    nodes: tuple[str, ...]


class ScheduledFault(msgspec.Struct, frozen=True):
    """A fault that happens by itself."""

    at_s: float  # after the start of the emulation
    fault: Fault


class Scenario(msgspec.Struct, frozen=True):
    """A whole network with its schedule."""

    name: str
    text: str
    nodes: tuple[NodeSpec, ...]
    links: tuple[LinkSpec, ...]
    groups: tuple[Group, ...] = ()
    events: tuple[ScheduledFault, ...] = ()
    seed: int = 0  # of the radio's randomness

    def names(self) -> tuple[str, ...]:
        """Names of the nodes, in order."""
        return tuple(node.name for node in self.nodes)

    def node(self, name: str) -> NodeSpec:
        """The node of this name."""
        return next(node for node in self.nodes if node.name == name)

    def directions(self) -> dict[Pair, LinkParams]:
        """Both directions of every link."""
        found: dict[Pair, LinkParams] = {}
        for link in self.links:
            found[link.a, link.b] = link.there
            found[link.b, link.a] = link.back
        return found

    def neighbours(self, name: str) -> tuple[str, ...]:
        """Names of the nodes that have a link with `name`, in the scenario's order."""
        linked = {link.b if link.a == name else link.a for link in self.links if name in (link.a, link.b)}
        return tuple(other for other in self.names() if other in linked)

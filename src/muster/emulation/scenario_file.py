"""Reads a scenario, a network to emulate, from a TOML file.

    text = "Two sensors and a gateway."
    nodes = [{ name = "alpha" }, { name = "bravo", slowdown = 4 }, { name = "gate" }]

    [[links]]
    a = "alpha"
    b = "gate"
    rate_kbit_s = 128
    delay_ms = 300
    loss = 0.02
    back = { rate_kbit_s = 64 }      # gate -> alpha

    [[groups]]                        # a full mesh
    name = "north"
    nodes = ["alpha", "bravo"]
    link = { rate_kbit_s = 1000, delay_ms = 50 }

    [[events]]
    at_s = 60
    fault = "cut"
    a = "alpha"
    b = "gate"

`[[stars]]` (hub, nodes, link) joins one node to many.  A link that is named twice takes the later
definition, so that one link of a mesh can be set apart.
"""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import msgspec

from muster.emulation.radio.model import LinkParams, fault_in
from muster.emulation.scenario import Away, Group, LinkSpec, NodeSpec, Scenario, ScheduledFault
from muster.errors import MusterError
from muster.node import policy
from muster.node.energy.settings import EnergyConfig, wrong_key
from muster.node.policy import PolicyConfig
from muster.simulation import faults

NODES_MAX = 250
LINKS_MAX = 10_000
NAME_CHARS_MAX = 32


def packaged() -> tuple[str, ...]:
    """Names of the scenarios that come with Muster."""
    folder = resources.files("muster.emulation") / "scenarios"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load(name_or_path: str | Path) -> Scenario:
    """A packaged scenario by name, or one from a file. Raises MusterError config, scenario or usage."""
    text = str(name_or_path)
    if text in packaged():
        source = resources.files("muster.emulation") / "scenarios" / f"{text}.toml"
        return parse(source.read_text("utf-8"), name=text, source=f"{text}.toml")
    path = Path(text)
    if not path.is_file():
        near = _nearest(text, packaged())
        raise MusterError(
            "scenario",
            f"there is no scenario and no file named {text!r}{near}; there are {', '.join(packaged())}",
        )
    try:
        content = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MusterError("config", f"{path} cannot be read: {error}") from error
    return parse(content, name=path.stem, source=str(path))


def parse(text: str, name: str, source: str) -> Scenario:
    """The scenario in a TOML text; `source` names the file in messages."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MusterError("config", f"{source} is not valid TOML: {error}") from error
    return ScenarioReader(source).scenario(raw, name)


_KEYS = ("text", "seed", "nodes", "links", "groups", "stars", "events")
_PARAMS = tuple(name for name in LinkParams.__struct_fields__)


class ScenarioReader:
    """Checks plain TOML values and makes a scenario of them; every message names the file and the key."""

    def __init__(self, source: str) -> None:
        self.source = source

    def scenario(self, raw: dict[str, Any], name: str) -> Scenario:
        """The scenario; raises MusterError config (a key is wrong) or scenario (it contradicts itself)."""
        self._known(raw, _KEYS, "")
        nodes = tuple(self._node(entry, path) for entry, path in self._tables(raw, "nodes"))
        self._check_nodes(nodes)
        known = {node.name for node in nodes}
        links: dict[frozenset[str], LinkSpec] = {}
        groups: list[Group] = []
        for entry, path in self._tables(raw, "groups"):
            self._known(entry, ("name", "nodes", "link"), path)
            members = self._members(entry, f"{path}.nodes", known)
            groups.append(Group(self._value(entry, "name", str, path), members))
            params = self._params(entry.get("link", {}), f"{path}.link")
            for i, a in enumerate(members):
                for b in members[i + 1 :]:
                    links[frozenset((a, b))] = LinkSpec(a, b, params, params)
        for entry, path in self._tables(raw, "stars"):
            self._known(entry, ("hub", "nodes", "link"), path)
            hub = self._name(entry, "hub", path, known)
            params = self._params(entry.get("link", {}), f"{path}.link")
            for b in self._members(entry, f"{path}.nodes", known - {hub}):
                links[frozenset((hub, b))] = LinkSpec(hub, b, params, params)
        for entry, path in self._tables(raw, "links"):
            link = self._link(entry, path, known)
            links[frozenset((link.a, link.b))] = link
        if len(links) > LINKS_MAX:
            raise self._wrong(f"it has {len(links)} links, at most {LINKS_MAX} are possible")
        events = tuple(self._event(entry, path, known) for entry, path in self._tables(raw, "events"))
        return Scenario(
            name,
            self._value(raw, "text", str, "", default=""),
            nodes,
            tuple(links.values()),
            tuple(groups),
            tuple(sorted(events, key=lambda event: event.at_s)),
            self._value(raw, "seed", int, "", default=0),
        )

    # parts

    def _node(self, raw: dict[str, Any], path: str) -> NodeSpec:
        self._known(raw, NodeSpec.__struct_fields__, path)
        for key, kind in (("away", Away), ("energy", EnergyConfig), ("policy", PolicyConfig)):
            if isinstance(raw.get(key), dict):
                self._known(raw[key], kind.__struct_fields__, f"{path}.{key}")
        node: NodeSpec = self._convert(raw, NodeSpec, path)
        if node.slowdown < 1:
            raise self._wrong(f"{path}.slowdown is {node.slowdown:g}, it must be at least 1")
        if node.away is not None and not (0 <= node.away.fraction < 1 and node.away.period_s > 0):
            raise self._wrong(f"{path}.away needs period_s over 0 and a fraction from 0 to below 1")
        if node.energy is not None and (found := wrong_key(node.energy)) is not None:
            raise self._wrong(f"{path}.energy.{found[0]}: {found[1]}")
        if node.policy is not None and (found := policy.wrong_key(node.policy)) is not None:
            raise self._wrong(f"{path}.policy.{found[0]}: {found[1]}")
        return node

    def _check_nodes(self, nodes: tuple[NodeSpec, ...]) -> None:
        if not nodes:
            raise self._wrong('it has no nodes; write nodes = [{ name = "alpha" }, { name = "bravo" }]')
        if len(nodes) > NODES_MAX:
            raise self._wrong(f"it has {len(nodes)} nodes, at most {NODES_MAX} are possible")
        seen: set[str] = set()
        for number, node in enumerate(nodes):
            plain = node.name.replace("-", "").replace("_", "")
            if not (plain.isascii() and plain.isalnum() and len(node.name) <= NAME_CHARS_MAX):
                raise self._wrong(
                    f"nodes[{number}].name is {node.name!r}, a name has 1 to {NAME_CHARS_MAX} letters, "
                    "digits, hyphens or underscores"
                )
            if node.name in seen:
                raise self._wrong(f"two nodes are named {node.name!r}; give each node its own name")
            seen.add(node.name)

    def _link(self, raw: dict[str, Any], path: str, known: set[str]) -> LinkSpec:
        self._known(raw, ("a", "b", "back", *_PARAMS), path)
        a, b = self._name(raw, "a", path, known), self._name(raw, "b", path, known)
        if a == b:
            raise self._wrong(f"{path} joins {a!r} to itself")
        there = {key: value for key, value in raw.items() if key in _PARAMS}
        back = raw.get("back", {})
        if not isinstance(back, dict):
            raise self._off(f"{path}.back must be a table of link parameters")
        self._known(back, _PARAMS, f"{path}.back")
        return LinkSpec(a, b, self._params(there, path), self._params({**there, **back}, f"{path}.back"))

    def _params(self, raw: Any, path: str) -> LinkParams:
        if not isinstance(raw, dict):
            raise self._off(f"{path} must be a table of link parameters")
        self._known(raw, _PARAMS, path)
        burst = raw.get("burst")
        if isinstance(burst, dict):
            self._known(burst, ("p_good_to_bad", "p_bad_to_good", "loss_bad"), f"{path}.burst")
        params: LinkParams = self._convert(raw, LinkParams, path)
        wrong = fault_in(params)
        if wrong:
            raise self._wrong(f"{path}.{wrong}")
        return params

    def _event(self, raw: dict[str, Any], path: str, known: set[str]) -> ScheduledFault:
        at_s = self._value(raw, "at_s", float, path)
        rest = {key: value for key, value in raw.items() if key != "at_s"}
        kinds = {fault.__struct_config__.tag: fault for fault in get_args(faults.Fault)}
        kind = rest.get("fault")
        if kind not in kinds:
            near = _nearest(str(kind), kinds)
            raise self._off(f"{path}.fault is {kind!r}{near}; there are {', '.join(kinds)}")
        self._known(rest, ("at_s", "fault", *kinds[kind].__struct_fields__), path)
        fault = self._convert(rest, faults.Fault, path)
        for name in sorted(faults.names_in(fault) - known):
            raise self._unknown(name, path, known)
        return ScheduledFault(at_s, fault)

    # helpers

    def _tables(self, raw: dict[str, Any], key: str) -> list[tuple[dict[str, Any], str]]:
        value = raw.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self._off(f"{key} must be a list of tables")
        return [(entry, f"{key}[{number}]") for number, entry in enumerate(value)]

    def _known(self, raw: dict[str, Any], allowed: tuple[str, ...], path: str) -> None:
        for key in raw:
            if key not in allowed:
                full = f"{path}.{key}" if path else key
                near = _nearest(key, allowed) or f"; known here: {', '.join(allowed)}"
                raise self._off(f"unknown key {full!r}{near}")

    def _members(self, raw: dict[str, Any], path: str, known: set[str]) -> tuple[str, ...]:
        names = raw.get("nodes")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._off(f"{path} must be a list of node names")
        for name in names:
            if name not in known:
                raise self._unknown(name, path, known)
        if len(set(names)) != len(names):
            raise self._wrong(f"{path} names a node twice")
        return tuple(names)

    def _name(self, raw: dict[str, Any], key: str, path: str, known: set[str]) -> str:
        name: str = self._value(raw, key, str, path)
        if name not in known:
            raise self._unknown(name, f"{path}.{key}", known)
        return name

    def _value(self, raw: dict[str, Any], key: str, kind: type, path: str, default: Any = None) -> Any:
        full = f"{path}.{key}" if path else key
        value = raw.get(key, default)
        if value is None:
            raise self._off(f"{full} is missing")
        return self._convert(value, kind, full)

    def _convert(self, raw: Any, kind: Any, path: str) -> Any:
        try:
            return msgspec.convert(raw, type=kind)
        except msgspec.ValidationError as error:
            what = str(error).replace(" - at `$.", f" - at `{path}.").replace(" - at `$`", "")
            raise self._off(f"{path}: {what}") from error

    def _unknown(self, name: str, path: str, known: set[str]) -> MusterError:
        return self._wrong(f"{path} names the node {name!r}, which does not exist{_nearest(name, known)}")

    def _off(self, what: str) -> MusterError:
        return MusterError("config", f"{self.source}: {what}")

    def _wrong(self, what: str) -> MusterError:
        return MusterError("scenario", f"{self.source}: {what}")


def _nearest(name: str, known: Any) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""

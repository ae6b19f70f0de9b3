"""What a demo prepares for its nodes: a throw-away fleet, a home and a node.toml each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from muster.cli.demo.stories.story import Story
from muster.emulation.scenario import NodeSpec, Scenario
from muster.network.transport.zenoh.config import NARROW, profile_for
from muster.node.energy.settings import EnergyConfig
from muster.node.policy import PolicyConfig

PORT = 7447
BOTH_CONNECT_KBIT_S = 64.0  # below it the keep-alives of two sessions would weigh


@dataclass(frozen=True)
class Act:
    """One job of a demo: `options` are arguments of the control op `train`, beside those of all acts."""

    title: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DemoRequest:
    """What the user asked of the demo. `options` are the arguments of the control op `train`.

    Its story is played once for each of `acts`, on the same nodes.
    """

    scenario: Scenario
    task: str
    split: str
    seed: int
    data: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    story: Story | None = None
    task_options: Mapping[str, Any] = field(default_factory=dict)  # for every node
    policy: Mapping[str, Any] = field(default_factory=dict)  # [policy] of every node
    acts: tuple[Act, ...] = (Act(),)

    def narrow(self) -> bool:
        """Whether some link is so narrow that shaking hands takes a quarter of a minute."""
        kbit_s = (min(link.there.rate_kbit_s, link.back.rate_kbit_s) for link in self.scenario.links)
        return min(kbit_s, default=1e9) < BOTH_CONNECT_KBIT_S


def task_options(request: DemoRequest, number: int) -> dict[str, Any]:
    """The options of the task on the scenario's node `number`: its part of the data."""
    node = request.scenario.nodes[number]
    options: dict[str, Any] = {
        "split": request.split,
        "part": number,
        "parts": len(request.scenario.nodes),
        "seed": request.seed,
    }
    if request.data is not None:
        options["data"] = str(request.data)
    return options | dict(request.task_options) | dict(node.data)


def dials(scenario: Scenario, name: str) -> tuple[str, ...]:
    """The neighbours that node `name` connects to: all, but on a narrow link only the later end dials."""
    names = scenario.names()
    found = []
    for other in scenario.neighbours(name):
        link = next(entry for entry in scenario.links if {entry.a, entry.b} == {name, other})
        slowest = min(link.there.rate_kbit_s, link.back.rate_kbit_s)
        if slowest >= BOTH_CONNECT_KBIT_S or names.index(other) < names.index(name):
            found.append(other)
    return tuple(found)


def _slowest_kbit_s(scenario: Scenario, name: str) -> float | None:
    links = [link for link in scenario.links if name in (link.a, link.b)]
    return min((min(link.there.rate_kbit_s, link.back.rate_kbit_s) for link in links), default=None)


def node_config(
    request: DemoRequest, number: int, home: Path, bundle: Path, listen: str, connect: tuple[str, ...]
) -> dict[str, Any]:
    """The content of a node's node.toml."""
    node: NodeSpec = request.scenario.nodes[number]
    config: dict[str, Any] = {
        "name": node.name,
        "home": str(home),
        "bundle": str(bundle),
        "listen": [listen],
        "connect": list(connect),
        "discovery": False,
        "trainer": {"threads": 1, "slowdown": float(node.slowdown)},
        "tasks": {task_name(request.task): task_options(request, number)},
    }
    usual, own = msgspec.to_builtins(PolicyConfig()), msgspec.to_builtins(node.policy or PolicyConfig())
    if policy := {**request.policy, **{key: own[key] for key in own if own[key] != usual[key]}}:
        config["policy"] = policy
    slowest = _slowest_kbit_s(request.scenario, node.name)
    if slowest is not None and (profile := profile_for(1000 * slowest)) is NARROW:
        config["profile"] = profile.name
    if request.task != task_name(request.task):
        config["tasks"][task_name(request.task)]["file"] = str(Path(request.task).absolute())
    energy = node.energy or EnergyConfig(meter="none")  # this machine's own meters see all nodes together
    config["energy"] = {k: v for k, v in msgspec.to_builtins(energy).items() if v is not None}
    return config


def task_name(task: str) -> str:
    """The key of a task in node.toml: its name, or that of its file or folder."""
    if ".py" in task:
        return Path(task.rpartition(".py")[0] or task).stem
    return Path(task).absolute().name if os.sep in task or task in (".", "..") else task

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest

from muster.emulation.radio.model import LinkParams
from muster.emulation.scenario import Away, Scenario
from muster.emulation.scenario_file import load, packaged, parse
from muster.errors import MusterError
from muster.node.energy.settings import EnergyConfig
from muster.node.policy import PolicyConfig
from muster.simulation.faults import Cut

TWO = 'nodes = [{ name = "alpha" }, { name = "bravo" }]\n'
LINK = '[[links]]\na = "alpha"\nb = "bravo"\n'


def read(text: str) -> Scenario:
    return parse(text, "test", "test.toml")


def hops(scenario: Scenario, start: str) -> dict[str, int]:
    found, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for other in scenario.neighbours(here):
            if other not in found:
                found[other] = found[here] + 1
                queue.append(other)
    return found


def test_field_8_is_what_it_says() -> None:
    scenario = load("field-8")
    assert scenario.names() == ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
    directions = scenario.directions()
    assert len(directions) == 26
    assert directions["delta", "echo"] == LinkParams(rate_kbit_s=128, delay_ms=300, loss=0.02)
    assert directions["charlie", "alpha"] == LinkParams(rate_kbit_s=1000, delay_ms=50, loss=0.01)
    assert scenario.neighbours("echo") == ("delta", "foxtrot", "golf", "hotel")
    away = {node.name for node in scenario.nodes if node.away and node.away.fraction == 0.4}
    assert away == {"charlie", "golf"}
    assert {node.name for node in scenario.nodes if node.slowdown == 4} == {"bravo", "hotel"}


def test_field_8_all_differs_only_in_who_is_away() -> None:
    everyone, some = load("field-8-all"), load("field-8")
    assert everyone.links == some.links
    assert all(node.away is None for node in everyone.nodes)
    assert [node.slowdown for node in everyone.nodes] == [node.slowdown for node in some.nodes]


@pytest.mark.parametrize(
    ("name", "nodes", "links", "farthest"),
    [
        ("field-8", 8, 13, 3),
        ("field-20", 20, 59, 4),
        ("lan-3", 3, 3, 1),
        ("narrow-9", 10, 9, 2),
        ("field-8-courier", 8, 17, 2),
    ],
)
def test_packaged_scenarios(name: str, nodes: int, links: int, farthest: int) -> None:
    scenario = load(name)
    assert name in packaged()
    assert (len(scenario.nodes), len(scenario.links)) == (nodes, links)
    reach = [hops(scenario, start) for start in scenario.names()]
    assert all(len(found) == nodes for found in reach)
    assert max(max(found.values()) for found in reach) == farthest


def test_a_duty_cycle_is_away_its_share_of_the_time() -> None:
    away = Away(period_s=50, fraction=0.4, phase_s=10)
    assert sum(away.away_at(second / 10) for second in range(5000)) == 2000
    assert [away.away_at(time_s) for time_s in (0, 9.9, 10.1, 29.9, 30.1)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    assert away.next_change_s(0) == 10
    assert away.next_change_s(10) == 20
    assert away.next_change_s(30) == 30


def test_links_groups_stars_directions_and_events() -> None:
    scenario = read(
        """
        seed = 5
        nodes = [
            { name = "a", energy = { preset = "pi4" }, data = { classes = [0, 1], part = 2 } },
            { name = "b", policy = { share = "samples", share_classes = [1] } },
            { name = "c" }, { name = "d" },
        ]
        [[groups]]
        name = "all"
        nodes = ["a", "b", "c"]
        link = { rate_kbit_s = 500 }
        [[stars]]
        hub = "d"
        nodes = ["a", "b"]
        link = { delay_ms = 7 }
        [[links]]
        a = "b"
        b = "a"
        rate_kbit_s = 64
        delay_ms = 20
        burst = { p_good_to_bad = 0.1, p_bad_to_good = 0.5 }
        back = { rate_kbit_s = 32 }
        [[events]]
        at_s = 9
        fault = "cut"
        a = "a"
        b = "d"
        [[events]]
        at_s = 3
        fault = "heal"
        """
    )
    directions = scenario.directions()
    assert len(scenario.links) == 5  # the link a-b replaces the group's
    assert directions["b", "a"].rate_kbit_s == 64
    assert directions["a", "b"].rate_kbit_s == 32
    assert directions["a", "b"].delay_ms == 20
    assert directions["a", "b"].burst is not None
    assert directions["a", "c"].rate_kbit_s == 500
    assert directions["d", "b"].delay_ms == 7
    assert [event.at_s for event in scenario.events] == [3, 9]
    assert scenario.events[1].fault == Cut("a", "d")
    assert scenario.node("a").data == {"classes": [0, 1], "part": 2}
    assert scenario.node("a").energy == EnergyConfig(preset="pi4")
    assert scenario.node("b").policy == PolicyConfig(share="samples", share_classes=(1,))
    assert scenario.node("c").policy is None
    assert scenario.groups[0].nodes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("nodes = [\n{ name = }", "config", ["test.toml", "line 2"]),
        (TWO + "notes = 1", "config", ["unknown key 'notes'", "'nodes'"]),
        (TWO + LINK + "rate_kbits = 4", "config", ["'links[0].rate_kbits'", "'rate_kbit_s'"]),
        (TWO + LINK + "back = { los = 0.1 }", "config", ["'links[0].back.los'", "'loss'"]),
        (TWO + LINK + "loss = 'high'", "config", ["links[0].loss", "float"]),
        (TWO + LINK + "loss = 2", "scenario", ["links[0].loss is 2", "between 0 and 1"]),
        (TWO + LINK + "rate_kbit_s = 0", "scenario", ["rate_kbit_s is 0"]),
        (TWO + '[[links]]\na = "alpha"\nb = "brave"', "scenario", ["'brave'", "'bravo'", "links[0].b"]),
        (TWO + '[[links]]\na = "alpha"\nb = "alpha"', "scenario", ["to itself"]),
        (TWO + '[[links]]\na = "alpha"', "config", ["links[0].b is missing"]),
        (TWO + '[[groups]]\nname = "x"\nnodes = ["alpha", "zulu"]', "scenario", ["'zulu'"]),
        ('nodes = [{ name = "a" }, { name = "a" }]', "scenario", ["two nodes are named 'a'"]),
        ('nodes = [{ name = "a b" }]', "scenario", ["'a b'"]),
        ('nodes = [{ name = "a", slowdon = 2 }]', "config", ["'nodes[0].slowdon'", "'slowdown'"]),
        ('nodes = [{ name = "a", slowdown = 0.5 }]', "scenario", ["slowdown"]),
        ('nodes = [{ name = "a", away = { fraction = 0.4 } }]', "config", ["nodes[0].away", "period_s"]),
        ('nodes = [{ name = "a", away = { fracion = 0.4 } }]', "config", ["nodes[0].away.fracion"]),
        ('nodes = [{ name = "a", away = { period_s = 9, fraction = 2 } }]', "scenario", ["fraction"]),
        ("", "scenario", ["no nodes"]),
        (TWO + '[[events]]\nat_s = 1\nfault = "cutt"', "config", ["'cutt'", "'cut'"]),
        (TWO + '[[events]]\nfault = "cut"', "config", ["events[0].at_s is missing"]),
        (TWO + '[[events]]\nat_s = 1\nfault = "kill"\nnode = "zulu"', "scenario", ["'zulu'", "events[0]"]),
        (TWO + '[[events]]\nat_s = 1\nfault = "kill"\nnod = "alpha"', "config", ["events[0].nod", "'node'"]),
    ],
)
def test_bad_input_is_one_sentence(text: str, code: str, words: list[str]) -> None:
    with pytest.raises(MusterError) as raised:
        read(text)
    assert raised.value.code == code
    for word in words:
        assert word in raised.value.sentence
    assert "\n" not in raised.value.sentence


def test_a_file_is_read_and_an_unknown_name_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TWO + LINK)
    assert load(path).name == "mine"
    assert load(str(path)).directions()["bravo", "alpha"] == LinkParams()
    with pytest.raises(MusterError, match="did you mean 'field-8'") as raised:
        load("feild-8")
    assert raised.value.code == "scenario"
    path.write_bytes(b"\xff")
    with pytest.raises(MusterError, match=r"mine\.toml cannot be read"):
        load(path)

"""What a demo writes for its nodes is what the daemon reads."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import tomli_w

from muster.cli.commands.emulate import fill, node_command
from muster.cli.demo.preparation import DemoRequest, dials, node_config, task_name
from muster.cli.demo.report import NodeReport, Report, SentReport
from muster.emulation.scenario_file import load, parse
from muster.errors import EXIT_CODES
from muster.node.config import load_config
from muster.node.energy.settings import EnergyConfig

DOCS = Path(__file__).parents[3] / "docs"


def test_every_node_of_a_scenario_gets_a_configuration_that_loads(tmp_path: Path) -> None:
    scenario = load("field-8")
    request = DemoRequest(scenario, "digits", "classes:2", 5)
    for number, name in enumerate(scenario.names()):
        raw = node_config(
            request, number, tmp_path / name, tmp_path / "b.pem", "10.77.0.1:7447", ("10.77.0.2:1",)
        )
        path = tmp_path / f"{name}.toml"
        path.write_text(tomli_w.dumps(raw), "utf-8")
        config = load_config(path)
        assert config.name == name
        assert config.trainer.slowdown == scenario.node(name).slowdown
        assert config.tasks["digits"] == {"split": "classes:2", "part": number, "parts": 8, "seed": 5}
        assert not config.discovery


def test_a_node_counts_the_energy_of_its_scenario_and_none_of_this_machine(tmp_path: Path) -> None:
    text = """
        nodes = [
            { name = "a", energy = { preset = "pi4", radio = "lte", idle_w = 1, capacity_j = 500 } },
            { name = "b" },
        ]
    """
    request = DemoRequest(parse(text, "two", "two.toml"), "digits", "iid", 5)
    energies = []
    for number in range(2):
        raw = node_config(request, number, tmp_path, tmp_path / "b.pem", "10.77.0.1:7447", ())
        path = tmp_path / "node.toml"
        path.write_text(tomli_w.dumps(raw), "utf-8")
        energies.append(load_config(path).energy)
    assert energies[0] == EnergyConfig(preset="pi4", radio="lte", idle_w=1, capacity_j=500)
    assert energies[1] == EnergyConfig(meter="none")


def test_a_task_from_a_file_is_named_by_its_stem(tmp_path: Path) -> None:
    assert task_name("some/where/leaves.py:Leaves") == "leaves"
    assert task_name("digits") == "digits"
    assert task_name("examples/flower_quickstart") == "flower_quickstart"  # a Flower app's folder
    request = DemoRequest(load("lan-3"), "leaves.py:Leaves", "iid", 0, data=tmp_path / "d.npz")
    raw = node_config(request, 0, tmp_path, tmp_path / "b.pem", "10.77.0.1:7447", ())
    assert raw["tasks"]["leaves"]["file"].endswith("/leaves.py:Leaves")
    assert raw["tasks"]["leaves"]["data"] == str(tmp_path / "d.npz")


def test_toml_round_trip() -> None:
    table = {
        "a b": 'q"\\\n\x01é',
        "n": -1,
        "f": 0.5,
        "t": True,
        "l": ["x", 2],
        "s": {"u-v": {"w": False}, "e": {}},
    }
    assert tomllib.loads(tomli_w.dumps(table)) == table


def test_both_ends_dial_except_on_narrow_links() -> None:
    field = load("field-8")
    assert dials(field, "delta") == ("alpha", "bravo", "charlie", "echo")
    assert "delta" in dials(field, "echo")
    narrow = load("narrow-9")
    pairs = [(a, b) for a in narrow.names() for b in dials(narrow, a)]
    assert len(pairs) == len({frozenset(pair) for pair in pairs}) == len(narrow.links)


def test_emulate_fills_in_what_it_knows_and_leaves_the_rest() -> None:
    words = fill(["x", "{name}@{address}", "{connect}", "{other}"], "alpha", "10.77.0.1", ["a:1", "b:2"])
    assert words == ["x", "alpha@10.77.0.1", "a:1,b:2", "{other}"]
    command = node_command("alpha", "10.77.0.1", ["a:1", "b:2"], Path("/h"), Path("/b"))
    assert command[command.index("--listen") + 1] == "10.77.0.1:7447"
    assert command.count("--connect") == 2


def test_the_report_is_what_its_page_says() -> None:
    page = (DOCS / "report.md").read_text()
    documented = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    fields = list(Report.__struct_fields__)
    nodes = [f"nodes.*.{name}" for name in NodeReport.__struct_fields__]
    sent = [f"bytes_sent.{name}" for name in SentReport.__struct_fields__]
    for group, inner in (("bytes_sent", sent), ("nodes", nodes)):
        place = fields.index(group) + 1
        fields[place:place] = inner
    assert documented == fields
    assert msgspec.json.schema(Report)


def test_every_exit_code_has_its_line() -> None:
    page = (DOCS / "errors.md").read_text()
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("| ")
    ]
    assert {row[1].strip("`"): int(row[0]) for row in rows[2:]} == EXIT_CODES
    assert all(len(row[3]) > 5 for row in rows[2:])

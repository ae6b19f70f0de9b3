"""A Flower app on real daemons: a link is cut, the coordinator killed, and the job ends all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from patience import patient_s

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
EXAMPLE = Path(__file__).parents[3] / "examples" / "flower_quickstart"
SCENARIO = """
text = "Two nodes on either side of one link."
nodes = [{ name = "ann" }, { name = "ben" }, { name = "cat" }, { name = "dan" }]
links = [
  { a = "ann", b = "ben", rate_kbit_s = 10000, delay_ms = 1 },
  { a = "ben", b = "cat", rate_kbit_s = 10000, delay_ms = 1 },
  { a = "cat", b = "dan", rate_kbit_s = 10000, delay_ms = 1 },
]
"""


def test_a_flower_app_through_a_cut_and_the_coordinators_death(tmp_path: Path) -> None:
    pytest.importorskip(
        "flwr", reason="flwr is not installed: make setup, or pip install 'muster-fl[flower]'"
    )
    (tmp_path / "two.toml").write_text(SCENARIO)
    report = tmp_path / "report.json"
    given = {"--scenario": "two.toml", "--task": str(EXAMPLE), "--split": "iid", "--rounds": "12"}
    words = [word for pair in given.items() for word in pair]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "muster.cli.main", "demo", *words),
            *("--story", "partition", "--plain", "--no-compare", "--report", str(report)),
        ],
        cwd=tmp_path,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=patient_s(280.0),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ann, which asked for help and coordinates, is killed" in done.stdout
    said = json.loads(report.read_text())
    assert (said["state"], said["rounds"]) == ("finished", 12)
    assert said["recipe"]["steps"] == 1  # the app's train is a step
    assert said["figures"]["accuracy"] > 0.7

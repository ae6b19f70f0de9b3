"""`muster emulate` runs a command on the nodes of a network that is really there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patience import patient_s

pytestmark = pytest.mark.e2e


def emulate(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "muster.cli.main", "emulate", "lan-3", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient_s(60.0),
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "d")},
    )


def test_every_node_runs_the_command_with_its_names_filled_in(tmp_path: Path) -> None:
    done = emulate(tmp_path, "--", "sh", "-c", "echo $MUSTER_NAME {name} {address} {connect} $MUSTER_CONNECT")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert sorted(lines) == ["alpha", "bravo", "charlie"]
    name, address, connect, from_environment = lines["bravo"]
    assert name == "bravo"
    assert connect == from_environment
    assert len(connect.split(",")) == 2
    assert address not in connect


def test_one_node_only_and_its_exit_code_is_ours(tmp_path: Path) -> None:
    done = emulate(tmp_path, "--on", "bravo", "--", "sh", "-c", "echo {name}; exit 3")
    assert (done.returncode, done.stdout) == (3, "bravo\n")
    assert "the command on bravo ended with 3" in done.stderr


def test_an_unknown_node_is_named(tmp_path: Path) -> None:
    done = emulate(tmp_path, "--on", "zulu", "--", "true")
    assert done.returncode == 4
    assert "'zulu'" in done.stderr
    assert done.stderr.count("\n") == 1

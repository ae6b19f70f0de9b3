"""Mistakes: one clear sentence, the documented exit code, no trace, nothing half-written."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.cli.main import run
from muster.errors import EXIT_CODES
from muster.node.api.client import answers
from patience import patient_s

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--task", "digist"], "unknown_task", "there is no task 'digist'; there are digits, mnist"),
        (["--task", "absent.py"], "unknown_task", "no task file absent.py"),
        (["--task", "mnist"], "bad_data", "give the .npz file with --data FILE"),
        (["--task", "mnist", "--data", "absent.npz"], "bad_data", "no data file absent.npz"),
        (["--split", "classes:x"], "usage", "use iid, classes:N, alone:N:M or dirichlet:A"),
        (["--scenario", "field-9"], "scenario", "no scenario and no file named 'field-9'"),
        (["--report", "absent/report.json"], "usage", "cannot be written"),
        (["--from", "absent.safetensors"], "bad_data", "to start from"),
        (["--rounds", "0"], "usage", "--rounds"),
        (["--page", "here:there"], "usage", "no address for the page"),
    ],
)
def test_a_demo_is_refused_before_anything_is_started(
    words: list[str], code: str, said: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--plain", "--keep", "kept", *words]) == EXIT_CODES[code]
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('nodes = [{ name = "alpha" }]\nnodez = 1', "config", "unknown key 'nodez'"),
        ("nodes = [oops]", "config", "line 1"),
        ('nodes = [{ name = "a" }, { name = "a" }]', "scenario", "two nodes are named 'a'"),
        (
            'nodes = [{ name = "a" }]\n[[links]]\na = "a"\nb = "bravo"',
            "scenario",
            "'bravo', which does not exist",
        ),
    ],
)
def test_a_wrong_scenario(text: str, code: str, said: str, capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    for command in (["demo", "--scenario", str(path)], ["emulate", str(path)]):
        assert run(command) == EXIT_CODES[code]
        assert said in capsys.readouterr().err


def test_a_kept_directory_is_never_overwritten(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    assert run(["demo", "--keep", str(tmp_path)]) == EXIT_CODES["home"]
    assert "is not empty" in capsys.readouterr().err


def node(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    env = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "d")}
    env.pop("MUSTER_HOME", None)
    return subprocess.Popen(
        [sys.executable, "-m", "muster.cli.main", "node", "--no-discovery", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def refusal(tmp_path: Path, *words: str) -> tuple[int, str]:
    process = node(tmp_path, *words)
    _, error = process.communicate(timeout=patient_s(40.0))
    return process.returncode, error


@pytest.fixture
def alpha(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = node(tmp_path, "--name", "alpha", "--listen", "127.0.0.1:17931")
    deadline_s = time.monotonic() + patient_s(30.0)
    while not answers(tmp_path / "d" / "muster" / "alpha"):  # a socket is there before somebody listens
        assert time.monotonic() < deadline_s
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    yield process
    process.terminate()
    process.communicate(timeout=patient_s(20.0))


@pytest.mark.e2e
def test_a_daemon_is_refused_what_another_one_has(tmp_path: Path, alpha: subprocess.Popen[str]) -> None:
    code, error = refusal(tmp_path, "--name", "alpha", "--listen", "127.0.0.1:17932")
    assert (code, error.count("\n")) == (EXIT_CODES["home"], 1), error
    code, error = refusal(tmp_path, "--name", "bravo", "--listen", "127.0.0.1:17931")
    assert (code, error.count("\n")) == (EXIT_CODES["port_in_use"], 1), error
    assert "17931" in error
    assert alpha.poll() is None


@pytest.mark.e2e
def test_a_port_of_another_program(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        code, error = refusal(tmp_path, "--name", "alpha", "--listen", f"127.0.0.1:{port}")
    assert (code, error.count("\n")) == (EXIT_CODES["port_in_use"], 1), error
    assert str(port) in error


@pytest.mark.e2e
@pytest.mark.parametrize("what", ["a file", "missing bundle", "garbage bundle"])
def test_an_unusable_home_or_bundle(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("garbage")
    words, expected = {
        "a file": (["--home", str(tmp_path / "file")], "home"),
        "missing bundle": (["--name", "alpha", "--bundle", str(tmp_path / "no.pem")], "fleet"),
        "garbage bundle": (["--name", "alpha", "--bundle", str(tmp_path / "file")], "fleet"),
    }[what]
    code, error = refusal(tmp_path, *words)
    assert (code, error.count("\n")) == (EXIT_CODES[expected], 1), error
    assert "Traceback" not in error


@pytest.mark.e2e
def test_what_a_daemon_refuses_to_train(
    tmp_path: Path, alpha: subprocess.Popen[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"garbage")
    for words, code in (
        (["train", "digist"], "unknown_task"),
        (["train", "digits", "--codec", "zip9"], "usage"),
        (["train", "digits", "--from", str(bad)], "bad_data"),
        (["train", "mnist"], "bad_data"),
        (["stop", "abcdef"], "unknown_job"),
        (["log", "abcdef"], "unknown_job"),
        (["export", "abcdef", "--to", str(tmp_path / "m.onnx")], "unknown_job"),
    ):
        got = run(words)
        lines = capsys.readouterr().err.splitlines(keepends=True)
        error = "".join(line for line in lines if not line.startswith("starts the trainer of "))
        assert (words, got) == (words, EXIT_CODES[code]), error
        assert error.count("\n") == 1
        assert "Traceback" not in error
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["dashboard", "--node", "nowhere"], "no_node", "no node runs in"),
        (["node", "--name", "a", "--page", "1.2.3.4:99999"], "usage", "no address for the page"),
    ],
)
def test_a_page_is_refused_before_anything_is_started(
    words: list[str], code: str, said: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert run(words) == EXIT_CODES[code]
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

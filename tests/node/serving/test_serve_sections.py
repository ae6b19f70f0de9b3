"""[tasks.NAME.serve] of a node.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster.errors import MusterError
from muster.node.config import NodeConfig, load_config
from muster.serving.settings import ServeConfig, decode_settings, encode_settings, settings_hash


def loaded(tmp_path: Path, text: str) -> NodeConfig:
    path = tmp_path / "node.toml"
    path.write_text(text, "utf-8")
    return load_config(path, {"home": str(tmp_path / "home")})


def test_a_section_is_read_and_is_no_option_of_the_task(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        '[tasks.leaves]\nfile = "leaves.py"\nbatch = 8\n'
        '[tasks.leaves.serve]\nport = 8000\ninbox = "new"\ngate = "not_worse"\n[tasks.digits.serve]\n',
    )
    expected = ServeConfig(port=8000, inbox=tmp_path / "new", gate="not_worse")
    assert config.serve == {"leaves": expected, "digits": ServeConfig()}
    assert config.tasks == {"leaves": {"file": str(tmp_path / "leaves.py"), "batch": 8}, "digits": {}}
    assert decode_settings(encode_settings(expected)) == expected
    assert settings_hash(expected) != settings_hash(ServeConfig())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("serve = 1", "'tasks.leaves.serve' must be a table, write [tasks.leaves.serve]"),
        ("[tasks.leaves.serve]\nprot = 1", "unknown key 'tasks.leaves.serve.prot'; did you mean 'port'?"),
        ("[tasks.leaves.serve]\nport = 0", "'tasks.leaves.serve.port': 0 is not within 1 to 65535"),
        ("[tasks.leaves.serve]\nport = '80'", "'tasks.leaves.serve.port': expected"),
        ("[tasks.leaves.serve]\nkeep_mb = 0.5", "0.5 is not within 1 to 1e+06"),
        ("[tasks.leaves.serve]\ngate = 'best'", "'best' is not one of better, not_worse"),
        ("[tasks.leaves.serve]\nlisten = 'a b'", "'a b' is no host"),
        ("[tasks.leaves.serve]\ninbox = ''", "'tasks.leaves.serve.inbox': expected a path"),
    ],
)
def test_a_mistake_is_a_sentence_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(MusterError) as found:
        loaded(tmp_path, f"[tasks.leaves]\n{text}\n")
    assert found.value.code == "config"
    assert sentence in found.value.sentence
    assert f"line {1 + len(text.splitlines())}" in found.value.sentence


def test_serve_stands_below_a_task_only(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="unknown key 'serve'"):
        loaded(tmp_path, "[serve.digits]\nport = 1\n")

"""node.toml: defaults, precedence, and a sentence with file, line and key for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster.errors import MusterError
from muster.job.context import SharePolicy
from muster.job.owner.allowance import OwnerLimits
from muster.job.owner.hours import Span
from muster.node.config import (
    NodeConfig,
    data_root,
    load_config,
)
from muster.node.policy import METERED_BYTES_PER_DAY, owner_limits, policy_of
from muster.node.toml_lines import line_of

FULL = """\
name = "alpha"
home = "here"
bundle = "alpha.pem"
listen = ["0.0.0.0:7447"]
connect = ["10.0.0.2:7447", "[fd00::1]:7447"]
discovery = false
profile = "narrow"
[policy]
accept = false
tasks = ["digits"]
relay = false
disk_limit_mb = 100
battery_min = 0.5
bytes_per_day = 20e6
joules_per_day = 5000
hours = ["22:00-06:00", "12:00-13:00"]
cpu_share = 0.5
metered = true
[trainer]
threads = 2
niceness = 5
slowdown = 4
[energy]
capacity_j = 20000
idle_w = 2.0
train_w = 6.0
[tasks.digits]
split = "classes:2"
part = 3
parts = 8
seed = 1
[tasks.mine]
file = "my_task.py:Mine"
data = "data.npz"
"""


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MUSTER_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(MusterError) as caught:
        load_config(write(tmp_path, text))
    assert caught.value.code == "config"
    assert str(tmp_path / "node.toml") in caught.value.sentence
    return caught.value.sentence


def test_everything_has_a_default() -> None:
    config = load_config(None, {"name": "alpha"})
    assert config == NodeConfig(name="alpha", home=data_root() / "alpha")
    assert config.policy.accept
    assert config.policy.tasks is None


def test_every_key_is_read_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, FULL))
    assert (config.home, config.bundle) == (tmp_path / "here", tmp_path / "alpha.pem")
    assert config.connect == ("10.0.0.2:7447", "[fd00::1]:7447")
    assert (config.policy.tasks, config.trainer.slowdown, config.profile) == (("digits",), 4.0, "narrow")
    assert owner_limits(config.policy) == OwnerLimits(
        20_000_000, 5000, (Span(79_200, 21_600), Span(43_200, 46_800)), 0.5, True
    )
    assert config.energy.train_w == 6.0
    assert config.tasks["digits"] == {"split": "classes:2", "part": 3, "parts": 8, "seed": 1}
    assert config.tasks["mine"] == {
        "file": str(tmp_path / "my_task.py:Mine"),
        "data": str(tmp_path / "data.npz"),
    }


def test_home_option_goes_before_environment_before_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, FULL)
    monkeypatch.setenv("MUSTER_HOME", str(tmp_path / "environment"))
    assert load_config(path).home == tmp_path / "environment"
    assert load_config(path, {"home": str(tmp_path / "option")}).home == tmp_path / "option"


def test_metered_has_a_small_budget_of_its_own(tmp_path: Path) -> None:
    metered = load_config(write(tmp_path, "[policy]\nmetered = true")).policy
    assert owner_limits(metered).bytes_per_day == METERED_BYTES_PER_DAY
    more = load_config(write(tmp_path, "[policy]\nmetered = true\nbytes_per_day = 1_000_000_000")).policy
    assert owner_limits(more).bytes_per_day == 1_000_000_000
    assert owner_limits(load_config(None, {"name": "a"}).policy) == OwnerLimits()


def test_nothing_of_the_data_is_shared_unless_the_owner_says_so(tmp_path: Path) -> None:
    assert policy_of(load_config(None, {"name": "a"}).policy).share == SharePolicy("none", 100_000, None)
    text = "[policy]\nshare = 'means'\nshare_kb = 2.5\nshare_classes = [3, 0]"
    policy = policy_of(load_config(write(tmp_path, text)).policy)
    assert policy.share == SharePolicy("means", 2500, (3, 0))


def test_an_override_that_is_none_was_not_given(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, FULL), {"name": None, "discovery": True}).name == "alpha"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('nmae = "a"', 1, "unknown key 'nmae'; did you mean 'name'?"),
        ("\n[policy]\nacept = true", 3, "unknown key 'policy.acept'; did you mean 'accept'?"),
        ("[trainer]\nxyzzy = 1", 2, "known here: threads, niceness, slowdown"),
        ("policy = 3", 1, "write [policy]"),
        ("[trainer]\n# a comment\nthreads = 'two'", 3, "'trainer.threads': expected `int`, got `str`"),
        ("discovery = 1", 1, "'discovery': expected `bool`"),
        ("profile = 'wide'", 1, "'profile': 'wide' is not one of auto, lan, narrow"),
        ("[trainer]\nslowdown = 0.5", 2, "'trainer.slowdown': 0.5 is not within 1 to 1000"),
        ("[policy]\nbattery_min = 20", 2, "not within 0 to 1"),
        (
            "[energy]\nidle_w = 2",
            2,
            "'energy.idle_w': there is idle_w alone: give idle_w and train_w, or",
        ),
        (
            "[energy]\npreset = 'pi5b'",
            2,
            "no preset 'pi5b'; did you mean 'pi5'? there are pi-zero, ",
        ),
        (
            "[energy]\nradio = 'LoRaWAN'",
            2,
            "no radio 'LoRaWAN'; did you mean 'lora'? there are ethernet",
        ),
        ("[energy]\npreset = 'pi4'\ntrain_w = 2", 3, "2 W are less than the 2.7 W of an idle machine"),
        (
            "[energy]\nmeter = 'rapl'\npreset = 'pi4'",
            2,
            "no watts are needed: leave out preset",
        ),
        ("[energy]\ncapacity_j = 5000", 2, "nothing says what drains this battery"),
        ("[energy]\nmeter = 'watts'", 2, "'energy.meter': 'watts' is not one of auto"),
        ("[energy]\npreset = 'pi4'\ntail_s = 0", 3, "0 is not within 0.01 to 3600"),
        ("[energy]\nwatts = 3", 2, "unknown key 'energy.watts'"),
        ("[policy]\nbyte_per_day = 3", 2, "unknown key 'policy.byte_per_day'; did you mean 'bytes_per_day'?"),
        ("[policy]\nbytes_per_day = 0", 2, "'policy.bytes_per_day': 0 is not within 1 to 1e+14"),
        (
            "[policy]\nbytes_per_day = '20 MB'",
            2,
            "'policy.bytes_per_day': expected `float | null`",
        ),
        ("[policy]\nhours = '22-6'", 2, "'policy.hours': '22-6' is no span of a day: write \"22:00-06:00\""),
        (
            "[policy]\nhours = ['7:00-7:00']",
            2,
            "'7:00-7:00' ends when it begins: the whole day is",
        ),
        ("[policy]\nhours = 22", 2, "'policy.hours': expected `str | array`, got `int`"),
        ("[policy]\ncpu_share = 50", 2, "'policy.cpu_share': 50 is not within 0.01 to 1"),
        ("[policy]\nmetered = 'yes'", 2, "'policy.metered': expected `bool`, got `str`"),
        (
            "[policy]\nshare = 'sample'",
            2,
            "'policy.share': 'sample' is not one of none, means, samples; did you mean 'samples'?",
        ),
        ("[policy]\nshare = true", 2, "'policy.share': expected `str`, got `bool`"),
        ("[policy]\nshare_kbyte = 3", 2, "unknown key 'policy.share_kbyte'; did you mean 'share_kb'?"),
        ("[policy]\nshare_kb = 0", 2, "'policy.share_kb': 0 is not within 0.1 to "),
        ("[policy]\nshare_classes = []", 2, "'policy.share_classes': no label is left"),
        ("[policy]\nshare_classes = [0, -1]", 2, "'policy.share_classes': -1 is no label"),
        ("[policy]\nshare_classes = ['cat']", 2, "'policy.share_classes': expected `int`, got `str`"),
        ("name = 'a b'", 1, "'a b' is no name"),
        ("connect = ['tcp/10.0.0.2']", 1, "'tcp/10.0.0.2' is no endpoint: write HOST:PORT"),
        ("connect = ['10.0.0.2:0']", 1, "a node that is dialled has a port"),
        ("connect = ['[::]:7447']", 1, "nobody can be dialled there"),
        ("listen = ['fe80::1']", 1, "is valid on one interface only"),
        ("listen = ['0.0.0.0:99999']", 1, "is no endpoint"),
        ("[tasks]\ndigits = 3", 2, "'tasks.digits' must be a table, write [tasks.digits]"),
        ("[tasks.a]\nbatch = 0", 2, "'tasks.a.batch': 0 is not a whole number from 1"),
        ("[tasks.a]\n\nbatch = '8'", 3, "'tasks.a.batch': '8' is not a whole number"),
        ("[tasks.a]\nsteps_max = true", 2, "'tasks.a.steps_max': True is not a whole number"),
        ("[tasks.a]\nlr_scale = nan", 2, "'tasks.a.lr_scale': nan is not a number above 0"),
        ("[tasks.a]\ndevice = 'gpu'", 2, '\'gpu\' is not "auto", "cpu", "cuda" or "cuda:1"'),
        ("[tasks.a]\nprecision = 16", 2, '16 is not "fp32" or "bf16"'),
        ("[tasks.a]\ndata = 3", 2, "'tasks.a.data': 3 is not a text"),
        ("[tasks.a]\npart = 2\nparts = 2", 2, "there is no part 2 of 2: parts are 0 to 1"),
        ("[tasks.a]\nfile = 'a.py'\nflower = 'b:c'", 3, "has a file and flower"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(tmp_path: Path, text: str, line: int, said: str) -> None:
    sentence = refusal(tmp_path, text)
    assert f"node.toml, line {line}:" in sentence
    assert said in sentence


def test_malformed_toml_is_named_with_line_and_key(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, 'name = "alpha"\nlisten = [oops]\n')
    assert "is not valid TOML: line 2, at 'listen', column 11: Invalid value" in sentence
    assert "line 2" in refusal(tmp_path, 'name = "alpha"\nlisten = [')


def test_not_text_too_big_missing_or_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MusterError, match="UTF-8"):
        load_config(path)
    path.write_text("#" * 300_000)
    with pytest.raises(MusterError, match="over 262144 bytes"):
        load_config(path)
    with pytest.raises(MusterError, match=r"no configuration file .*absent\.toml"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(MusterError, match="cannot be read: Is a directory"):
        load_config(tmp_path)


def test_a_wrong_option_is_a_matter_of_usage() -> None:
    with pytest.raises(MusterError, match=r"--connect: 'bravo:' is no endpoint") as caught:
        load_config(None, {"connect": ("bravo:",)})
    assert caught.value.code == "usage"
    with pytest.raises(MusterError, match=r"--name: '-' is no name") as caught:
        load_config(None, {"name": "-"})
    assert caught.value.code == "usage"


def test_a_home_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(MusterError, match="too long") as caught:
        load_config(None, {"home": "/" + "x" * 100})
    assert caught.value.code == "home"


def test_line_of_finds_headers_and_dotted_keys() -> None:
    assert line_of("a = 1\n[b.c]\nd = 2", ("b", "c", "d")) == 3
    assert line_of('[tasks."x-y"]\n', ("tasks", "x-y")) == 1
    assert line_of("policy.accept = 3", ("policy", "accept")) == 1
    assert line_of("a = 1", ("zzz",)) is None

"""The pointer: replaced whole, checked, and models beside it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from muster.errors import MusterError
from muster.serving import pointer
from muster.serving.paths import folder_of, models_of, parameters_of, pointer_of, served_tasks
from muster.serving.pointer import go_back, read, use_model, verified


def model(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / f"{hashlib.sha256(content).hexdigest()[:6]}.onnx"
    path.write_bytes(content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "home", "digits")


def test_nothing_is_in_use_at_first(folder: Path) -> None:
    assert read(folder) is None
    with pytest.raises(MusterError, match="no former model of digits"):
        go_back(folder, "test")


def test_a_model_goes_into_use_and_back(folder: Path, tmp_path: Path) -> None:
    first = use_model(folder, "aaaa0000", model(tmp_path, b"first"), model(tmp_path, b"sketch"), "first")
    assert read(folder) == first
    assert (first.former, first.reason) == (None, "first")
    assert first.current.sketch_path(folder).read_bytes() == b"sketch"
    second = use_model(folder, "bbbb0000", model(tmp_path, b"second"), None, "adopted")
    assert read(folder) == second
    assert second.former == first.current
    assert not second.current.sketch_path(folder).exists()
    assert verified(folder, second.current).read_bytes() == b"second"
    back = go_back(folder, "returned")
    assert (back.current, back.former, back.reason) == (first.current, second.current, "returned")
    assert read(folder) == back
    assert go_back(folder, "rolled back").current == second.current
    assert time.time() - 60 < back.since <= time.time()
    assert served_tasks(tmp_path / "home") == ["digits"]


def test_the_model_in_use_stays_when_it_is_used_again(folder: Path, tmp_path: Path) -> None:
    first = use_model(folder, "a", model(tmp_path, b"first"), None, "first")
    assert use_model(folder, "a", model(tmp_path, b"first"), None, "forced") == first


def test_other_bytes_are_another_version(folder: Path, tmp_path: Path) -> None:
    use_model(folder, "mine", model(tmp_path, b"first"), None, "first")
    second = use_model(folder, "mine", model(tmp_path, b"second"), None, "forced")
    assert second.version == f"mine-{hashlib.sha256(b'second').hexdigest()[:8]}"
    assert verified(folder, second.former).read_bytes() == b"first"  # type: ignore[arg-type]


def test_only_a_few_older_models_are_kept(folder: Path, tmp_path: Path) -> None:
    for number in range(9):
        content = str(number).encode()
        use_model(folder, f"v{number}", model(tmp_path, content), model(tmp_path, b"s" + content), "test")
        os.utime(models_of(folder) / f"v{number}.onnx", (number, number))
    kept = {path.name for path in models_of(folder).iterdir()}
    names = [f"v{number}" for number in range(9 - 2 - pointer.OLDER_KEPT, 9)]
    assert kept == {f"{name}{suffix}" for name in names for suffix in (".onnx", ".sketch.onnx")}


GOOD: dict[str, Any] = {
    "version": "a", "model": "models/a.onnx", "sha256": "0" * 64, "since": 1.0, "reason": "first",
    "former": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"[" * 20_000,
        b" " * 20_000,
        *(
            json.dumps({**GOOD, **wrong}).encode()
            for wrong in (
                {"version": "../a"},
                {"version": ""},
                {"version": 7},
                {"model": "/etc/passwd"},
                {"model": "models/../../a.onnx"},
                {"model": "models/b.onnx"},
                {"sha256": "0" * 63},
                {"sha256": None},
                {"since": -1.0},
                {"since": 1e300},
                {"reason": "x" * 501},
                {"former": {"version": "..", "model": "models/...onnx", "sha256": "0" * 64}},
                {"former": {"version": "b"}},
            )
        ),
    ],
)
def test_a_damaged_pointer_is_said_and_replaced(folder: Path, tmp_path: Path, content: bytes) -> None:
    use_model(folder, "a", model(tmp_path, b"first"), None, "first")
    pointer_of(folder).write_bytes(content)
    with pytest.raises(MusterError, match="is damaged") as found:
        read(folder)
    assert found.value.code == "bad_data"
    assert len(found.value.sentence) < 600
    assert use_model(folder, "b", model(tmp_path, b"second"), None, "second").former is None
    assert read(folder) is not None


def test_a_pointer_of_a_later_version_is_read(folder: Path) -> None:
    folder.mkdir(parents=True)
    pointer_of(folder).write_text(json.dumps({**GOOD, "later": 1}))
    assert read(folder) is not None


def test_a_damaged_model_is_said(folder: Path, tmp_path: Path) -> None:
    use_model(folder, "a", model(tmp_path, b"first"), None, "first")
    served = use_model(folder, "b", model(tmp_path, b"second"), None, "second")
    served.current.path(folder).write_bytes(b"secund")
    with pytest.raises(MusterError, match="its hash differs"):
        verified(folder, served.current)
    (models_of(folder) / "a.onnx").unlink()
    with pytest.raises(MusterError, match="is not there"):
        go_back(folder, "test")
    assert read(folder) == served


@pytest.mark.parametrize("version", ["", "a/b", "..", ".a", "a.b", "x" * 65, "é", "a\n"])
def test_a_wrong_version_is_refused(folder: Path, tmp_path: Path, version: str) -> None:
    with pytest.raises(MusterError, match="is no version"):
        use_model(folder, version, model(tmp_path, b"first"), None, "first")


def test_a_missing_or_empty_file_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "nothing.onnx", tmp_path, model(tmp_path, b"")):
        with pytest.raises(MusterError) as found:
            use_model(folder, "a", file, None, "first")
        assert found.value.code == "bad_data"
    assert read(folder) is None


@pytest.mark.parametrize("task", ["", "..", ".x", "a/b", "x" * 65, "a\0"])
def test_a_name_that_leads_elsewhere_is_no_tasks_name(tmp_path: Path, task: str) -> None:
    with pytest.raises(MusterError, match="no task's name"):
        folder_of(tmp_path, task)


MOVER = """
import sys
from pathlib import Path
from muster.serving.pointer import use_model
folder, files = Path(sys.argv[1]), [Path(p) for p in sys.argv[2:]]
n = 0
while True:
    use_model(folder, f"v{n % 7}", files[n % 2], None, "test")
    if not n:
        print("ready", flush=True)
    n += 1
"""


def test_killed_at_any_time_the_pointer_leads_to_a_whole_model(folder: Path, tmp_path: Path) -> None:
    files = [model(tmp_path, bytes([n]) * 300_000) for n in (1, 2)]
    for number in range(6):
        mover = subprocess.Popen(
            [sys.executable, "-c", MOVER, str(folder), *map(str, files)], stdout=subprocess.PIPE
        )
        assert mover.stdout is not None
        assert mover.stdout.readline() == b"ready\n"
        time.sleep(0.05 + 0.013 * number)
        mover.kill()
        mover.wait()
        mover.stdout.close()
        served = read(folder)
        assert served is not None
        assert verified(folder, served.current).stat().st_size == 300_000
        if served.former is not None:
            assert verified(folder, served.former).stat().st_size == 300_000
    use_model(folder, "end", files[0], None, "test")
    assert not list(models_of(folder).glob(".*"))


def test_a_full_disk_changes_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = use_model(folder, "a", model(tmp_path, b"first"), None, "first")

    def full(path: Path, pieces: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pointer, "write_staged", full)
    with pytest.raises(MusterError) as found:
        use_model(folder, "b", model(tmp_path, b"second"), None, "second")
    assert found.value.code == "disk_full"
    assert read(folder) == first


def test_parameters_stay_as_long_as_their_model_may_answer(folder: Path, tmp_path: Path) -> None:
    """What a killed process has half copied is in nobody's way."""
    contents = [b"first", b"second", b"third"]
    names = [hashlib.sha256(content).hexdigest() for content in contents]
    models_of(folder).mkdir(parents=True)
    (models_of(folder) / f".{names[0]}.safetensors.part").write_bytes(b"ha")
    for number, content in enumerate(contents):
        parameters = model(tmp_path, b"parameters of " + content)
        use_model(folder, f"v{number}", model(tmp_path, content), None, "test", parameters)
    assert not parameters_of(folder, names[0]).exists()
    for content, name in list(zip(contents, names, strict=True))[1:]:
        assert parameters_of(folder, name).read_bytes() == b"parameters of " + content

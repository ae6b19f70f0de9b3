"""`muster track` to TensorBoard, read by tensorboardX and by what goes on with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakenode import JOB
from scripted import ScriptedJob, a_round, commit

from muster.cli.main import run
from muster.cli.track.event_file import Event, encode, header, read


def with_tensorboardx(path: Path) -> list[Any]:
    """The events of a file as the package's own protocol buffers."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    data, events = path.read_bytes(), []
    while data:
        length = int.from_bytes(data[:8], "little")
        events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("runs/*/events.out.tfevents.*"))


def track(folder: Path, *more: str) -> int:
    return run(["track", JOB, "--to", f"tensorboard:{folder}/runs", *more])


def steps(folder: Path) -> list[int]:
    return [e.step for path in files(folder) for e in read(path.read_bytes()) if "commit" in e.texts]


def test_another_package_reads_it(job: ScriptedJob, tmp_path: Path) -> None:
    assert track(tmp_path, "--once") == 0
    (path,) = files(tmp_path)
    assert path.parent.name == f"digits-{JOB[:8]}"
    first, recipe, *rounds = with_tensorboardx(path)
    assert first.file_version == "brain.Event:2"
    (text,) = recipe.summary.value
    assert (text.tag, text.metadata.plugin_data.plugin_name) == ("recipe", "text")
    assert b"| lr | 0.1 |" in text.tensor.string_val[0]
    assert [event.step for event in rounds] == [1, 2, 3]
    values = {value.tag: value for value in rounds[1].summary.value}
    scalars = {tag: value.simple_value for tag, value in values.items() if value.HasField("simple_value")}
    assert scalars == {
        "accuracy": pytest.approx(1 - 1 / 3), "loss": 0.5, "round/participants": 2, "round/steps": 30,
        "round/examples": 960, "round/bytes": 2000, "job/bytes": 3000, "job/joules": 40.0, "job/age_s": 5.0,
        "share/alpha": 0.5, "share/bravo": 0.5, "value/alpha": 0.125,
    }  # fmt: skip
    assert values["commit"].tensor.string_val[0].decode() == commit(2)
    assert values["commit"].tensor.tensor_shape.dim[0].size == 1
    assert rounds[1].wall_time - rounds[0].wall_time == pytest.approx(2.5, abs=1)


def test_records_are_those_of_another_package(tmp_path: Path) -> None:
    writer = pytest.importorskip("tensorboardX.record_writer")
    event = Event(12.5, 300, {"loss": 0.25, "börse": -1.0}, {"commit": "ab"})
    data = encode(event)
    theirs = writer.RecordWriter(str(tmp_path / "file"))
    theirs.write(data[12:-4])
    theirs.close()
    assert (tmp_path / "file").read_bytes() == data
    assert list(read(header(1.0) + data)) == [event]


def test_it_goes_on_where_it_was(job: ScriptedJob, tmp_path: Path) -> None:
    for done in (3, 3, 5):
        job.do(done - len(job.rounds))
        assert track(tmp_path, "--once") == 0
        assert steps(tmp_path) == list(range(1, done + 1))
    assert len(files(tmp_path)) == 2  # nothing was to be written in between
    job.finish()
    assert track(tmp_path) == 0


@pytest.mark.parametrize("left", [0, 5, 11, 60, -1, -5])
def test_a_record_that_a_crash_cut_off_is_written_again(job: ScriptedJob, left: int, tmp_path: Path) -> None:
    assert track(tmp_path, "--once") == 0
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    last = encode(list(read(whole))[-1])
    path.write_bytes(whole[: len(whole) - len(last) + left] if left >= 0 else whole[:left])
    assert steps(tmp_path) == [1, 2]
    assert track(tmp_path, "--once") == 0
    assert steps(tmp_path) == [1, 2, 3]


def test_a_damaged_record_ends_what_is_read(job: ScriptedJob, tmp_path: Path) -> None:
    assert track(tmp_path, "--once") == 0
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    events = list(read(whole))
    for at in range(0, len(whole), 7):
        changed = bytes([*whole[:at], whole[at] ^ 0x10, *whole[at + 1 :]])
        found = list(read(changed))
        assert found == events[: len(found)]
        assert len(found) < len(events) or at < len(header(0.0))


def test_a_merge_takes_the_count_of_rounds_back(job: ScriptedJob, tmp_path: Path) -> None:
    job.rounds.append(a_round(2, commit="ff" * 32, kind="merge"))
    assert track(tmp_path, "--once") == 0
    assert steps(tmp_path) == [1, 2, 3, 2]
    assert track(tmp_path, "--once") == 0
    assert steps(tmp_path) == [1, 2, 3, 2]


def test_no_torch_comes_along() -> None:
    code = "import sys, muster.cli.commands.track, muster.cli.track.loop, muster.cli.track.tensorboard"
    code += "; sys.exit(bool({'torch', 'numpy', 'tensorboardX', 'tensorboard'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

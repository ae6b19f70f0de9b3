"""A task without torch in the trainer: the scikit-learn example, request by request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster.compression import tensors
from muster.compression.codecs.families import parse
from muster.compression.model import encode_update
from muster.compression.tensors import Layout
from muster.errors import MusterError
from muster.learning.export import metadata_of
from muster.node.trainer.session import Session
from patience import patient_s

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits_sklearn.py"
LIMITS = {"threads": 1, "niceness": 0, "throttle": 1.0}
RECIPE = {"lr": 0.05, "batch": 32, "momentum": 0.0}


def opened(part: int = 0, parts: int = 3) -> tuple[Session, dict[str, Any], list[dict[str, Any]]]:
    session, steps = Session(), []
    opening = {"do": "open", "reference": str(EXAMPLE), "options": {"part": part, "parts": parts}}
    facts = session.do(opening | LIMITS, steps.append)
    return session, facts, steps


def test_three_nodes_train_the_example_together(tmp_path: Path) -> None:
    """Averaged by hand, three rounds: the child's part of a job."""
    sessions = [opened(part)[0] for part in range(3)]
    _, facts, steps = opened()
    layout = Layout.from_plain(facts["layout"])
    assert (facts["name"], facts["samples"], facts["common"]) == ("digits-sklearn", 479, 360)
    base = tmp_path / "base"
    sessions[0].do({"do": "initial", "seed": 1, "source": None, "out": str(base)}, steps.append)
    for _ in range(3):
        updates = []
        for number, session in enumerate(sessions):
            out = tmp_path / "update"
            request = {"do": "train", "base": str(base), "out": str(out), "steps": 20, "seed": number}
            done = session.do(request | RECIPE, steps.append)
            assert (done["steps"], done["examples"]) == (20, 479)
            assert 0 < done["step_s"] < 10
            updates.append(tensors.read(layout.changes, out))
        before = tensors.read(layout, base)
        mean = {n: before[n] + np.mean([u[n] for u in updates], axis=0, dtype=np.float32) for n in before}
        tensors.write(layout, base, mean)
    assert steps[-1]["done"] == steps[-1]["of"] == 20
    asked = {"do": "evaluate", "base": str(base)}
    found = sessions[0].do(asked | {"which": "common"}, steps.append)
    assert found["examples"] == 360
    assert found["figures"]["accuracy"][0] > 310
    assert sessions[0].do(asked | {"which": "own"}, steps.append)["examples"] == 0
    message = encode_update(parse("dense32"), layout, updates[0])
    valued = {
        "do": "value",
        "before": str(base),
        "updates": [[0.5, message, b""]],
        "which": "common",
        "limit": 9,
    }
    worth = sessions[0].do(valued, steps.append)
    assert worth["values"][0] == pytest.approx(worth["before"] - worth["after"], rel=0.1)
    assert sessions[0].do({"do": "measure_speed", "batch": 32}, steps.append)["step_s"] > 0


def test_no_rate_is_looked_for() -> None:
    """What `fit` makes of a rate is not known here."""
    session, _, steps = opened()
    request = {"do": "find_rate", "base": "-", "batch": 32, "momentum": 0.0, "seed": 1, "seconds": 9.0}
    found = session.do(request, steps.append)
    assert found["lr"] is None
    assert "fit()" in found["why"]


def test_the_same_seed_gives_the_same_update(tmp_path: Path) -> None:
    session, _, steps = opened()
    base, outs = tmp_path / "base", [tmp_path / "one", tmp_path / "two", tmp_path / "other"]
    session.do({"do": "initial", "seed": 1, "source": None, "out": str(base)}, steps.append)
    for seed, out in zip((4, 4, 5), outs, strict=True):
        request = {"do": "train", "base": str(base), "out": str(out), "steps": 3, "seed": seed}
        session.do(request | RECIPE, steps.append)
    one, two, other = (out.read_bytes() for out in outs)
    assert one == two != other


def test_export_and_start_from_the_export(tmp_path: Path) -> None:
    session, _, steps = opened()
    base, again, file = tmp_path / "base", tmp_path / "again", tmp_path / "m.safetensors"
    session.do({"do": "initial", "seed": 1, "source": None, "out": str(base)}, steps.append)
    exporting = {"do": "export", "base": str(base), "metadata": {"task": "digits-sklearn"}}
    session.do(exporting | {"out": str(file), "format": "safetensors"}, steps.append)
    assert metadata_of(file) == {"task": "digits-sklearn"}
    session.do({"do": "initial", "seed": 1, "source": str(file), "out": str(again)}, steps.append)
    assert base.read_bytes() == again.read_bytes()
    with pytest.raises(MusterError, match="safetensors"):
        session.do(exporting | {"out": str(tmp_path / "m.onnx"), "format": "onnx"}, steps.append)


def test_a_faulty_task_is_not_answered_for_by_the_one_before(tmp_path: Path) -> None:
    session, _, steps = opened()
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from muster import Task\nclass Bad(Task):\n    name = 'bad'\n"
        "    def initial(self, seed):\n        return {}\n"
        "    def fit(self, arrays, steps, seed):\n        return arrays, 1, {}\n"
    )
    with pytest.raises(Exception, match=r"initial\(\) must return"):
        session.do({"do": "open", "reference": str(bad), "options": {}} | LIMITS, steps.append)
    with pytest.raises(MusterError, match="before a task was opened"):
        session.do({"do": "measure_speed", "batch": 1}, steps.append)


def test_torch_is_not_imported_for_it() -> None:
    code = (
        "import sys\nimport muster.node.trainer.child\nfrom muster.node.trainer.session import Session\n"
        f"limits = {LIMITS!r}\n"
        f"Session().do({{'do': 'open', 'reference': {str(EXAMPLE)!r}, 'options': {{}}, **limits}}, print)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=patient_s(100)).returncode == 0


def test_what_a_task_keeps_is_of_its_job(tmp_path: Path) -> None:
    file = tmp_path / "counts.py"
    file.write_text(
        "import numpy as np\nfrom muster import Task\n\nclass Counts(Task):\n"
        "    name = 'counts'\n    seen = b''\n"
        "    def initial(self, seed):\n        return {'w': np.zeros(1)}\n"
        "    def fit(self, arrays, steps, seed):\n        self.seen += b'.'\n"
        "        return arrays, len(self.seen), {}\n"
        "    def kept(self):\n        return self.seen\n"
        "    def keep(self, data):\n        self.seen = data\n"
    )
    base, out = str(tmp_path / "base"), str(tmp_path / "out")

    def examples(session: Session, job: str) -> int:
        request = {
            "do": "train",
            "base": base,
            "out": out,
            "steps": 1,
            "seed": 0,
            "local": str(tmp_path / job),
        }
        return int(session.do(request | RECIPE, lambda _: None)["examples"])

    def session() -> Session:
        fresh = Session()
        fresh.do({"do": "open", "reference": str(file), "options": {}} | LIMITS, lambda _: None)
        fresh.do({"do": "initial", "seed": 0, "source": None, "out": base}, lambda _: None)
        return fresh

    one = session()
    assert [examples(one, "a"), examples(one, "a"), examples(one, "b")] == [1, 2, 1]
    assert [examples(session(), "a"), examples(session(), "b")] == [3, 2]

"""A transformers model with LoRA adapters on data of `datasets`, in a whole job; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fleet import ChildHere, run_job

from muster.learning.sources.source import as_source

HERE = Path(__file__).parents[3] / "examples" / "hf_lora.py"
REASON = "transformers, datasets and peft are not installed: make setup, or pip install 'muster-fl[hf]'"


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    for name in ("transformers", "datasets", "peft"):
        pytest.importorskip(name, reason=REASON)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers about itself
def test_three_nodes_fine_tune_the_example(tmp_path: Path) -> None:
    ended = run_job(str(HERE), tmp_path, "hf-lora", codec="auto", seed=0)
    assert ended.rounds == 8, ended.said
    assert len(set(ended.blobs.values())) == 1
    child, path = ChildHere(), tmp_path / "model"
    path.write_bytes(ended.blobs["a"])
    assert ended.runner.models.layout is not None
    travelling = [spec.name for spec in ended.runner.models.layout.tensors]
    assert all("lora_" in name or "modules_to_save" in name for name in travelling)  # the base does not
    opening = {"do": "open", "reference": str(HERE), "options": {}, "threads": 1, "niceness": 0}
    child.session.do(opening | {"throttle": 1.0}, lambda _: None)
    asked = {"do": "evaluate", "base": str(path), "which": "common", "limit": None}
    figures: dict[str, Any] = child.session.do(asked, lambda _: None)["figures"]
    assert figures["accuracy"][0] / figures["accuracy"][1] > 0.85


def test_data_sets_from_disk_and_as_streams_are_sources(tmp_path: Path) -> None:
    import datasets

    rows = {"input_ids": [[n, n + 1] for n in range(20)], "labels": [n % 2 for n in range(20)]}
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "rows"))
    read = datasets.load_from_disk(str(tmp_path / "rows")).with_format("torch")
    source = as_source(read, "training_data")
    assert source.size == 20
    first = next(iter(source.once(8))).data
    assert first["input_ids"].tolist() == [[n, n + 1] for n in range(8)]
    assert first["labels"].tolist() == [0, 1] * 4
    kept, held_out = source.split(0.1, 0)
    assert held_out is not None
    assert (kept.size, held_out.size) == (18, 2)
    stream = as_source(read.to_iterable_dataset(), "training_data")
    taken = stream.batches(8, 0)
    seen = [next(taken).data["input_ids"][:, 0].tolist() for _ in range(4)]
    assert [n for rows in seen for n in rows][:20] == list(range(20))
    assert stream.tell() == [1, 12]
    again = as_source(read.to_iterable_dataset(), "training_data")
    again.seek([0, 8])
    assert next(again.batches(8, 0)).data["input_ids"][:, 0].tolist() == list(range(8, 16))

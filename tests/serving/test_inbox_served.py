"""The server takes in what lies in its inbox, and says how well its model knows it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from onnx_models import classifier
from serving_here import TASK, served

from muster.local.local_set import LocalSet, path_of
from muster.serving import server as server_module
from muster.serving.settings import ServeConfig
from patience import patient_s


def test_the_inbox_becomes_labels_that_both_models_are_judged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "LOOK_S", 0.02)

    async def run() -> None:
        home, inbox = tmp_path / "home", tmp_path / "inbox"
        inbox.mkdir()
        (inbox / "night.csv").write_text("a,b,c,d,label\n1,0,0,0,red\n0,1,0,0,blue\n")
        (inbox / "odd.csv").write_text("a,b,label\n1,0,red\n")
        async with served(home, classifier(tmp_path / "a.onnx"), config=ServeConfig(inbox=inbox)) as s:
            async with asyncio.timeout(patient_s(30)):
                while s.server.figures.judged < 2 or not (inbox / "refused" / "odd.csv.txt").exists():
                    await asyncio.sleep(0.02)
            assert any("inbox: odd.csv is refused: line 2: a sample has the shape" in line for line in s.said)
        with LocalSet.open(path_of(home, TASK)) as local:
            counts = local.counts()
            assert (counts.labelled, counts.labels, counts.wrong) == (2, 2, 1)
        assert (inbox / "done" / "night.csv").exists()

    asyncio.run(run())

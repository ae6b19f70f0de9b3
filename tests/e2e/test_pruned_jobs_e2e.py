"""A model that becomes smaller on real nodes, while one of them stands still; another one is killed then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from play import ask, field, log, mesh, until_one_end, until_round
from safetensors.numpy import load_file

from muster.simulation.faults import Kill, Pause, Restart, Resume

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAMES = ("alpha", "bravo", "charlie")


def test_three_nodes_prune_while_one_stands_still_and_one_is_killed_then(tmp_path: Path) -> None:
    async def main() -> None:
        async with field(mesh(NAMES)) as fleet:
            job = await ask(fleet, "alpha", rounds=10, prune="0.5@3", lr=0.1, steps=20, min_nodes=1)
            await until_round(fleet, "bravo", job, 2)
            await fleet.net.apply(Pause("charlie"))
            await until_round(fleet, "alpha", job, 4)
            await fleet.net.apply(Resume("charlie"))
            await fleet.net.apply(Kill("bravo"))
            await fleet.net.apply(Restart("bravo"))
            await until_one_end(fleet, NAMES, job)
            commits = (await log(fleet, "bravo", job)).commits
            assert [c.round for c in commits].count(3) == 2  # the round's, and the one that prunes
            paths = await asyncio.to_thread(fleet.client("charlie").export, job, tmp_path / "small")
            assert [Path(p).suffix for p in paths.paths] == [".safetensors", ".onnx"]
            assert load_file(tmp_path / "small.safetensors")["4.weight"].shape == (10, 128)
            running = onnxruntime.InferenceSession(
                tmp_path / "small.onnx", providers=["CPUExecutionProvider"]
            )
            [given] = running.get_inputs()
            assert running.run(None, {given.name: np.zeros((2, 1, 8, 8), np.float32)})[0].shape == (2, 10)
            again = await ask(fleet, "bravo", rounds=2, lr=0.05, steps=10, **{"from": commits[-1].id})
            await until_one_end(fleet, NAMES, again)

    asyncio.run(main())

"""Half a model on real nodes: trained by three, one of them restarted; a whole one pruned and tuned."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from play import ask, field, mesh, until_one_end, until_round, view
from safetensors.numpy import load_file

from muster.cli.commands.prune import prune
from muster.errors import MusterError
from muster.simulation.faults import Kill, Restart

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NAMES = ("alpha", "bravo", "charlie")


def test_three_nodes_train_half_a_model_and_prune_a_whole_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with field(mesh(NAMES)) as fleet:
            half = await ask(fleet, "alpha", rounds=6, width=0.5, lr=0.1, steps=10, min_nodes=3)
            await until_round(fleet, "bravo", half, 2)
            await fleet.net.apply(Kill("charlie"))
            await fleet.net.apply(Restart("charlie"))
            await until_one_end(fleet, NAMES, half)
            client = fleet.client("charlie")
            paths = await asyncio.to_thread(client.export, half, tmp_path / "half")
            assert [Path(p).suffix for p in paths.paths] == [".safetensors", ".onnx"]
            assert load_file(tmp_path / "half.safetensors")["4.weight"].shape == (10, 128)
            running = onnxruntime.InferenceSession(tmp_path / "half.onnx", providers=["CPUExecutionProvider"])
            [given] = running.get_inputs()
            assert running.run(None, {given.name: np.zeros((2, 1, 8, 8), np.float32)})[0].shape == (2, 10)

            whole = await ask(fleet, "alpha", rounds=4, lr=0.1, steps=10)
            await until_one_end(fleet, NAMES, whole)
            seen = await view(fleet, "bravo", whole)
            assert seen is not None
            home = str(fleet.rundir / "bravo")
            arguments = [
                seen.head,
                "--node",
                home,
                "--width",
                "0.5",
                "--tune",
                "2",
                "--lr",
                "0.05",
                "--steps",
                "10",
            ]
            said = await asyncio.to_thread(CliRunner().invoke, prune, arguments, catch_exceptions=False)
            rows = {line.split()[0]: line.split() for line in said.output.splitlines() if line.strip()}
            assert rows["before"][1:3] == ["1", "2,730"]
            assert rows["pruned"][1:3] == ["0.5", "1,370"]
            assert "finished after 2 rounds" in said.output
            assert "measured on the task's evaluation set" in said.output
            thin = await ask(fleet, "alpha", rounds=3, lr=0.1, steps=10, prune="0.5@2")
            await until_one_end(fleet, NAMES, thin)
            pruned = await view(fleet, "bravo", thin)
            assert pruned is not None
            for wrong, text in (([pruned.head, "--width", "0.5"], "as small as that already"),
                                ([seen.head, "--width", "1"], "give a smaller --width"),
                                (["00000000", "--width", "0.5"], "no commit")):  # fmt: skip
                with pytest.raises(MusterError, match=text):
                    await asyncio.to_thread(
                        CliRunner().invoke, prune, [*wrong, "--node", home], catch_exceptions=False
                    )

    asyncio.run(main())

"""The examples that bring no torch module, in whole jobs of three nodes: scikit-learn's, and a Flower app."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fleet import NAMES, ChildHere, Ended, Fleet, run_job

from muster.node.api.job_requests import ask
from muster.simulation.virtual import event_loop

EXAMPLES = Path(__file__).parents[3] / "examples"
ROUNDS = 26
SKLEARN, FLOWER = EXAMPLES / "digits_sklearn.py", EXAMPLES / "flower_quickstart"


def figures(reference: Path, blob: bytes, folder: Path, which: str) -> dict[str, Any]:
    """Of a model, as a trainer measures it."""
    child, path = ChildHere(), folder / "model"
    path.write_bytes(blob)
    limits = {"threads": 1, "niceness": 0, "throttle": 1.0}
    opening = {"do": "open", "reference": str(reference), "options": {"part": 0, "parts": 3}}
    child.session.do(opening | limits, lambda _: None)
    asked = {"do": "evaluate", "base": str(path), "which": which, "limit": None}
    return child.session.do(asked, lambda _: None)


def accuracy(found: dict[str, Any]) -> float:
    total, count = found["figures"]["accuracy"]
    return float(total / count)


@pytest.mark.parametrize("codec", ["stc:0.2", "auto"])
def test_scikit_learn_in_a_job(codec: str, tmp_path: Path) -> None:
    ended = run_job(
        str(SKLEARN), tmp_path, "digits-sklearn", codec=codec, rounds=5, lr=0.05, steps=10, seed=0
    )
    assert ended.rounds == 5, ended.said
    assert len(set(ended.blobs.values())) == 1
    assert accuracy(figures(SKLEARN, ended.blobs["a"], tmp_path, "common")) > 0.85


async def _through_faults(folder: Path) -> Ended:
    """A node is cut off and comes back; then the asker, who coordinates, dies; the others end the job."""
    fleet = Fleet(str(FLOWER), folder)
    for core in fleet.cores.values():
        await core.start()
    await asyncio.sleep(3.0)
    a, b, c = (fleet.cores[name] for name in NAMES)
    request = {
        "task": "flower-quickstart",
        "min_nodes": 2,
        "rounds": ROUNDS,
        "patience_s": 5.0,
    }
    job = await ask(a, fleet.trainers["a"], request, b"cut")  # type: ignore[arg-type]

    def round_of(core: Any) -> int:
        runner = core.jobs.runners.get(job)
        head = runner.head() if runner is not None else None
        return head.round if head is not None else -1

    async def until(core: Any, number: int) -> None:
        while round_of(core) < number:
            await asyncio.sleep(0.1)

    await until(b, 2)
    fleet.network.isolate(c.node)
    await until(a, 4)
    assert round_of(c) < 4
    fleet.network.rejoin(c.node)
    await until(c, 4)
    assert 4 <= round_of(a) < ROUNDS
    fleet.network.kill(a.node)
    await a.close()
    del fleet.cores["a"]
    while not fleet._settled(job):
        await asyncio.sleep(0.5)
    runner = b.jobs.runners[job]
    said = [e.text for core in (b, c) for e in core.log.since(0)]
    blobs = {name: fleet._model(core, job) for name, core in fleet.cores.items()}
    ended = Ended(blobs, runner, runner.finished() or "", round_of(b), said)
    for core in (b, c):
        await core.close()
    return ended


def test_a_flower_app_through_a_cut_and_its_coordinators_death(tmp_path: Path) -> None:
    pytest.importorskip(
        "flwr", reason="flwr is not installed: make setup, or pip install 'muster-fl[flower]'"
    )
    ended = event_loop.run(_through_faults(tmp_path), 3600.0)
    assert ended.rounds == ROUNDS, ended.said
    assert (ended.runner.view.job.recipe.steps, ended.runner.view.job.recipe.lr) == (1, 0.1)  # the app's
    assert [m.name for m in ended.runner.view.job.metrics] == ["accuracy", "loss"]
    assert [text for text in ended.said if text.startswith(f"round {ROUNDS} committed")]  # by b or c
    assert set(ended.blobs) == {"b", "c"}
    assert len(set(ended.blobs.values())) == 1
    assert accuracy(figures(FLOWER, ended.blobs["b"], tmp_path, "own")) > 0.8

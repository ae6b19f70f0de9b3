"""What a node keeps of a job for itself: optimisers' state over rounds and restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toys import Toy, data

from muster.learning import local_state, local_training, params


class Adam(Toy):
    def model(self) -> nn.Module:
        return nn.Linear(2, 3)

    def configure_optimizers(self, parameters: Any, lr: float) -> Any:
        optimiser = torch.optim.AdamW(parameters, lr=lr)
        return optimiser, torch.optim.lr_scheduler.LinearLR(optimiser, 0.1, total_iters=8)


class Momentum(Adam):
    keep_optimizer = True

    def configure_optimizers(self, parameters: Any, lr: float) -> Any:
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def rounds(task: Toy, path: Path | None, count: int = 2, lr: float = 0.05) -> nn.Module:
    """`count` rounds of 4 steps; between them only the file remains."""
    model = params.fresh_model(task, 0)
    for number in range(count):
        kept = local_state.load(path)
        done = local_training.train(
            task, model, data(), steps=4, lr=lr, batch=300, seed=1, round_=number + 1,
            state=kept.get("optimizers"),
        )  # fmt: skip
        local_state.save(path, {**kept, "optimizers": done.state})
    return model


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.allclose(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("kind", [Adam, Momentum])
def test_two_rounds_are_one_long_one(kind: type[Toy], tmp_path: Path) -> None:
    whole = params.fresh_model(kind(), 0)
    local_training.train(kind(), whole, data(), steps=8, lr=0.05, batch=300, seed=1)
    assert same(rounds(kind(), tmp_path / "local" / "j.pt"), whole)
    assert not same(rounds(kind(), None), whole)  # without the file each round begins from nothing


def test_a_task_may_drop_the_state(tmp_path: Path) -> None:
    class Forgetful(Momentum):
        keep_optimizer = False

    path = tmp_path / "j.pt"
    assert same(rounds(Forgetful(), path), rounds(Momentum(), None))
    assert not path.exists()


def test_the_light_optimiser_leaves_no_file(tmp_path: Path) -> None:
    rounds(Toy(), tmp_path / "j.pt")
    assert list(tmp_path.iterdir()) == []


def test_without_a_scheduler_the_rate_is_the_rounds(tmp_path: Path) -> None:
    path = tmp_path / "j.pt"
    rounds(Momentum(), path, 1)
    seen: list[float] = []

    class Spy(Momentum):
        def on_round_end(self, model: nn.Module, round: int) -> None:
            seen.append(self.optimizers[0].param_groups[0]["lr"])

    rounds(Spy(), path, 1, lr=0.01)
    assert seen == [0.01]


@pytest.mark.parametrize("harm", ["garbage", "cut", "other model", "other optimiser", "nan"])
def test_a_state_that_does_not_fit_is_dropped(harm: str, tmp_path: Path) -> None:
    path = tmp_path / "j.pt"
    rounds(Momentum(), path, 1)
    kept = local_state.load(path)["optimizers"]
    if harm == "garbage":
        path.write_bytes(b"\x80\x05garbage" * 20)
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    elif harm == "other model":
        kept["shapes"][0][1] = [5, 2]
    elif harm == "other optimiser":
        kept["kinds"][0][0] = "Adam"
    else:
        kept["optimisers"][0]["state"][0]["momentum_buffer"][0, 0] = torch.nan
    if harm not in ("garbage", "cut"):
        local_state.save(path, {"optimizers": kept})
    assert same(rounds(Momentum(), path, 1), rounds(Momentum(), None, 1))


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return exec, (f"open({str(tmp_path / 'run')!r}, 'w')",)

    torch.save({"optimizers": Harm()}, tmp_path / "j.pt")
    assert local_state.load(tmp_path / "j.pt") == {}
    assert not (tmp_path / "run").exists()


def test_a_file_is_replaced_whole_and_old_ones_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_state, "FILES_MAX", 3)
    path = tmp_path / "j.pt"
    local_state.save(path, {"place": [1, 2]})
    with pytest.raises(Exception, match="pickle"):
        local_state.save(path, {"place": [lambda: 1]})
    assert local_state.load(path) == {"place": [1, 2]}
    assert [p.name for p in tmp_path.iterdir()] == ["j.pt"]
    for number in range(5):
        local_state.save(tmp_path / f"{number}.pt", {"place": [number]})
    assert len(list(tmp_path.iterdir())) == 3
    local_state.save(tmp_path / "4.pt", {})
    assert not (tmp_path / "4.pt").exists()

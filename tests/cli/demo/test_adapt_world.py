"""What the nodes of the story see follows from the seed, and nothing is seen that was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from muster.cli.demo.adapt import world
from muster.cli.demo.adapt.world import LABELS, World, digits_of, made, turned

CAMERAS = ("alpha", "bravo", "echo", "foxtrot")


def example(seed: int = 0) -> World:
    random = np.random.default_rng(1)
    pictures = random.integers(0, 255, (900, 8, 8)).astype(np.uint8)
    labels = np.arange(900) % 10
    return made(pictures, labels, pictures[:50], labels[:50], CAMERAS, seed)


def test_the_four_cameras_see_all_digits_and_each_of_them_four() -> None:
    seen = [digits_of(number) for number in range(4)]
    assert {len(set(digits)) for digits in seen} == {4}
    assert set().union(*seen) == set(range(10))


def test_no_picture_whose_label_is_trained_on_is_seen_elsewhere() -> None:
    found = example()
    learnt = np.concatenate([found.learn[camera] for camera in CAMERAS])
    assert len(set(learnt.tolist())) == len(learnt) == 4 * LABELS
    assert not set(learnt.tolist()) & set(found.stream.tolist())
    for number, camera in enumerate(CAMERAS):
        assert not set(learnt.tolist()) & set(found.check[camera].tolist())
        rows = np.concatenate([found.learn[camera], found.check[camera]])
        assert set(found.labels[rows].tolist()) == set(digits_of(number))
        counts = np.bincount(found.labels[found.learn[camera]])
        assert counts.max() - counts[list(digits_of(number))].min() <= 1


def test_it_follows_from_the_seed_and_survives_its_file(tmp_path: Path) -> None:
    found, other = example(), example(1)
    assert not np.array_equal(found.learn["alpha"], other.learn["alpha"])
    world.save(found, tmp_path / "world.npz")
    again = world.load(tmp_path / "world.npz")
    for name in ("upright", "turned", "labels", "stream", "test_turned"):
        assert np.array_equal(getattr(found, name), getattr(again, name))
    assert {k: v.tolist() for k, v in found.check.items()} == {k: v.tolist() for k, v in again.check.items()}
    assert set(found.labels[again.seen((3, 4))].tolist()) == {3, 4}


def test_pictures_turn_about_their_middle() -> None:
    bar = np.zeros((1, 9, 9), np.uint8)
    bar[0, 4, 1:8] = 200
    assert np.array_equal(turned(bar, 0.0), bar)
    assert np.array_equal(turned(bar, 90.0), bar.transpose(0, 2, 1))
    sixty = turned(bar, 60.0)[0].astype(int)
    assert sixty[4, 4] == 200
    assert sixty[4].sum() < 500
    down = sixty.nonzero()
    assert abs(np.corrcoef(down[0], down[1])[0, 1]) > 0.7

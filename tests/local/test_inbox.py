"""Labelled samples as files in a folder: taken in once, and what is wrong is set aside with a sentence."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from muster.errors import MusterError
from muster.local.database import LocalFault
from muster.local.form import Form, form_of
from muster.local.inbox import Inbox
from muster.local.limits import Limits
from muster.local.local_set import LocalSet

PICTURES = Form("uint8", (4, 6), ("cat", "dog"))
ROWS = Form("float32", (3,), ("calm", "windy"))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalSet]:
    with LocalSet.open(tmp_path / "a.sqlite", Limits(free_bytes=0)) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


def put(folder: Path, place: str, data: bytes) -> Path:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def npy(x: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, x)
    return out.getvalue()


def png(width: int, height: int, colour: tuple[int, ...] | int, mode: str) -> bytes:
    image = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    image.new(mode, (width, height), colour).save(out, "PNG")
    return out.getvalue()


def taken(folder: Path, local: LocalSet, form: Form) -> tuple[int, list[str]]:
    """Looks until nothing is left to do."""
    inbox, labels, refused = Inbox(folder), 0, list[str]()
    inbox.look(local, form)
    while True:
        found = inbox.look(local, form)
        labels, refused = labels + found.labels, refused + list(found.refused)
        if not found.more:
            return labels, refused


def test_files_are_labelled_by_their_folder_and_moved(folder: Path, local: LocalSet) -> None:
    put(folder, "cat/one.npy", npy(np.full((4, 6), 7, np.uint8)))
    put(folder, "1/two.npy", npy(np.full((4, 6), 9, np.uint8)))
    put(folder, "dog/three.png", png(6, 4, 200, "L"))
    put(folder, "dog/colour.PNG", png(6, 4, (255, 255, 255), "RGB"))
    put(folder, "cat/.hidden.npy", b"")
    put(folder, "cat/copying.npy.part", b"")
    assert taken(folder, local, PICTURES) == (4, [])
    found = local.labelled()
    values = sorted(zip(found.y.tolist(), found.x.reshape(4, -1).max(1).tolist(), strict=True))
    assert values == [(0, 7), (1, 9), (1, 200), (1, 255)]
    assert sorted(p.name for p in (folder / "done").rglob("*.*")) == [
        "colour.PNG",
        "one.npy",
        "three.png",
        "two.npy",
    ]
    assert sorted(p.name for p in (folder / "cat").iterdir()) == [".hidden.npy", "copying.npy.part"]


def test_a_table_has_a_column_for_the_label(folder: Path, local: LocalSet) -> None:
    put(
        folder, "monday.csv", "t,label,wind,rain\n1,calm,0.5,0\n2,windy,7.25,1\n3,1,8,0\n".encode("utf-8-sig")
    )
    assert taken(folder, local, ROWS) == (3, [])
    found = local.labelled()
    assert found.x.tolist() == [[1, 0.5, 0], [2, 7.25, 1], [3, 8, 0]]
    assert found.x.dtype == np.float32
    assert found.y.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("place", "data", "why"),
    [
        ("bird/x.npy", npy(np.zeros((4, 6), np.uint8)), "'bird' is no label: give one of cat, dog"),
        ("cat/x.npy", npy(np.zeros((4, 5), np.uint8)), "a sample has the shape 4 x 5, the model takes 4 x 6"),
        ("cat/x.npy", npy(np.zeros((4, 6))), "a sample has the dtype float64, the model takes uint8"),
        ("cat/x.npy", npy(np.array([{"a": 1}])), "it is no .npy file with plain numbers"),
        ("cat/x.npy", b"\x93NUMPY", "it is no .npy file"),
        ("cat/x.png", b"\x89PNG\r\n", "it is no PNG or JPEG picture"),
        ("cat/x.gif", b"GIF89a", "it is no sample: give .png, .jpg, .jpeg, .npy"),
        ("x.png", b"", "it lies in no folder of a class"),
        ("x.csv", b"label,a\ncat,1\n", "the model's samples are no rows of numbers"),
    ],
)
def test_what_is_wrong_is_refused_with_a_sentence(
    folder: Path, local: LocalSet, place: str, data: bytes, why: str
) -> None:
    pytest.importorskip("PIL.Image")
    put(folder, place, data)
    labels, [sentence] = taken(folder, local, PICTURES)
    assert labels == 0
    assert sentence.startswith(f"{place} is refused: {why}")
    assert (folder / "refused" / place).read_bytes() == data
    text = (folder / "refused" / f"{place}.txt").read_text()
    assert text.startswith(why)
    assert not (folder / place).exists()
    assert local.counts().labelled == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b,c\n1,2,3\n", "its first line must name its columns, one of them 'label'"),
        ("", "its first line must name its columns"),
        ("a,b,c,label\n1,2,3,calm\n1,2,x,calm\n", "line 3: a value is no number"),
        ("a,b,c,label\n1,2,nan,calm\n", "line 2: a value is not finite"),
        ("a,b,c,label\n1,2,3\n", "line 2: it has 3 values, the first line 4"),
        ("a,b,label\n1,2,calm\n", "line 2: a sample has the shape 2, the model takes 3"),
        ("a,b,c,label\n1,2,3,storm\n", "line 2: 'storm' is no label: give one of calm, windy"),
        ("\xff", "it is no CSV table in UTF-8"),
    ],
)
def test_a_table_is_taken_whole_or_not_at_all(folder: Path, local: LocalSet, text: str, why: str) -> None:
    put(folder, "x.csv", text.encode("latin-1"))
    labels, [sentence] = taken(folder, local, ROWS)
    assert (labels, local.counts().labelled) == (0, 0)
    assert why in sentence


def test_a_picture_gets_the_size_and_the_axes_of_the_model(folder: Path, local: LocalSet) -> None:
    put(folder, "cat/large.png", png(60, 40, (10, 20, 30), "RGB"))
    assert taken(folder, local, Form("uint8", (3, 4, 6), ("cat",))) == (1, [])
    x = local.labelled().x[0]
    assert x.shape == (3, 4, 6)
    assert x[:, 2, 3].tolist() == [10, 20, 30]
    put(folder, "cat/any.png", png(5, 3, (10, 20, 30), "RGB"))
    assert taken(folder, local, Form("uint8", (-1, -1, 3), ("cat",))) == (1, [])
    assert local.labelled().x.shape == (1, 3, 5, 3)
    put(folder, "cat/float.png", png(5, 3, (10, 20, 30), "RGB"))
    _, [sentence] = taken(folder, local, Form("float32", (3, 4, 6), ("cat",)))
    assert "let the task's prepare() take uint8 pixels" in sentence


def test_a_file_that_is_still_written_waits(folder: Path, local: LocalSet) -> None:
    inbox, whole = Inbox(folder), npy(np.zeros((4, 6), np.uint8))
    path = put(folder, "cat/x.npy", whole[:50])
    assert inbox.look(local, PICTURES).labels == 0
    path.write_bytes(whole)
    assert inbox.look(local, PICTURES).labels == 0
    assert inbox.look(local, PICTURES).labels == 1


def test_a_crash_between_the_label_and_the_move_takes_it_in_once(folder: Path, local: LocalSet) -> None:
    data = npy(np.zeros((4, 6), np.uint8))
    put(folder, "cat/x.npy", data)
    taken(folder, local, PICTURES)
    put(folder, "cat/x.npy", data)
    assert taken(folder, local, PICTURES) == (1, [])
    assert local.counts().labelled == 1
    assert sorted(p.name for p in (folder / "done" / "cat").iterdir()) == ["x-2.npy", "x.npy"]


def test_on_a_full_disk_files_stay_where_they_are(
    folder: Path, local: LocalSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(folder, "cat/x.npy", npy(np.zeros((4, 6), np.uint8)))

    def full(rows: object) -> None:
        raise LocalFault("disk_full", "the disk is full: free some space")

    monkeypatch.setattr(local, "add_labelled_rows", full)
    with pytest.raises(LocalFault, match="is full"):
        taken(folder, local, PICTURES)
    monkeypatch.undo()
    assert path.exists()
    assert taken(folder, local, PICTURES) == (1, [])


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path, local: LocalSet) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MusterError, match=r"the inbox .* cannot be used"):
        Inbox(tmp_path / "file" / "inbox").look(local, PICTURES)


def test_links_are_left_alone(folder: Path, local: LocalSet, tmp_path: Path) -> None:
    secret = put(tmp_path, "secret.npy", npy(np.zeros((4, 6), np.uint8)))
    (folder / "cat").mkdir(parents=True)
    os.symlink(secret, folder / "cat" / "x.npy")
    os.symlink(tmp_path, folder / "dog")
    assert taken(folder, local, PICTURES) == (0, [])
    assert secret.exists()


def test_the_form_is_what_the_model_says() -> None:
    said = {"sample": '{"dtype": "uint8", "shape": [28, 28]}', "classes": '["a", "b"]'}
    assert form_of(said) == Form("uint8", (28, 28), ("a", "b"))
    assert form_of({}) is None
    assert form_of({"sample": "{}"}) is None
    assert form_of({"sample": '{"dtype": "object", "shape": [1]}'}) is None
    assert form_of({"sample": '{"dtype": "float32", "shape": [1]}', "classes": "5"}) is None


def test_labels_are_names_or_numbers() -> None:
    form = Form("uint8", (1,), ("10", "20"))
    assert (form.label("20"), form.label("1"), form.label(0)) == (1, 1, 0)
    with pytest.raises(MusterError, match="'30' is no label: give one of 10, 20"):
        form.label("30")
    with pytest.raises(MusterError, match="no label"):
        form.label("0.5")
    values = Form("uint8", (1,))
    assert values.label("3") == 3
    assert isinstance(values.label("3"), int)
    assert values.label("3.0") == 3.0
    assert isinstance(values.label("3.0"), float)
    for wrong in ("nan", "inf", "x"):
        with pytest.raises(MusterError, match="give a number"):
            values.label(wrong)

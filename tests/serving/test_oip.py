"""Requests and answers of the Open Inference Protocol as bytes."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.serving.oip.codec import encode, parse, parse_feedback
from muster.serving.oip.tensors import DTYPES, BadRequest, TensorSpec, from_bytes, from_json

SPEC = TensorSpec("input", "FP32", (-1, 4))
OUT = {"output": TensorSpec("output", "FP32", (-1, 3)), "entropy": TensorSpec("entropy", "FP32", (-1,))}


def body(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4.5]} | changes
    return {"inputs": [{name: value for name, value in tensor.items() if value is not ...}]}


def read(value: Any, tail: bytes = b"", header: bool = False, spec: TensorSpec = SPEC) -> Any:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse(text + tail, len(text) if header else None, [spec], OUT)


def test_a_list_is_flat_or_nested() -> None:
    for data in ([1, 2, 3, 4.5], [[1, 2, 3, 4.5]], [[1.0, 2.0, 3.0, 4.5]]):
        found = read(body(data=data))
        assert found.feeds["input"].tolist() == [[1.0, 2.0, 3.0, 4.5]]
        assert found.feeds["input"].dtype == np.float32
        assert (found.samples, found.id) == (1, "")
        assert found.outputs == [("output", False), ("entropy", False)]


@given(st.sampled_from(sorted(DTYPES)), st.integers(1, 5), st.randoms(use_true_random=False))
def test_what_is_sent_as_bytes_arrives(datatype: str, samples: int, random: Any) -> None:
    array = np.array([random.randrange(2) for _ in range(samples * 4)], DTYPES[datatype]).reshape(samples, 4)
    size = array.nbytes
    asked = body(datatype=datatype, shape=[samples, 4], data=..., parameters={"binary_data_size": size})
    spec = TensorSpec("input", datatype, (-1, 4))
    found = read(asked, array.tobytes(), header=True, spec=spec)
    assert np.array_equal(found.feeds["input"], array)
    assert found.feeds["input"].dtype == array.dtype
    if datatype != "FP16":
        asked = body(datatype=datatype, shape=[samples, 4], data=array.tolist())
        assert np.array_equal(read(asked, spec=spec).feeds["input"], array)
    answer, head_bytes = encode("task", "v", "id", [("output", True)], {"output": array})
    assert head_bytes is not None
    head = json.loads(answer[:head_bytes])
    assert head["outputs"] == [
        {
            "name": "output",
            "datatype": datatype,
            "shape": [samples, 4],
            "parameters": {"binary_data_size": size},
        }
    ]
    assert answer[head_bytes:] == array.tobytes()


def test_outputs_are_as_asked_for() -> None:
    wanted = [{"name": "entropy"}, {"name": "output", "parameters": {"binary_data": True}}]
    assert read({**body(), "outputs": wanted}).outputs == [("entropy", False), ("output", True)]
    asked = {**body(), "parameters": {"binary_data_output": True}}
    assert read(asked).outputs == [("output", True), ("entropy", True)]
    arrays = {"output": np.zeros((1, 3), np.float32), "entropy": np.ones(1, np.float32)}
    answer, head_bytes = encode("task", "v", "7", [("entropy", False), ("output", True)], arrays)
    assert head_bytes is not None
    assert json.loads(answer[:head_bytes])["outputs"][0]["data"] == [1.0]
    assert answer[head_bytes:] == bytes(12)


BINARY = {"binary_data_size": 16}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "image"}, "there is no input 'image': the model has input"),
        ({"datatype": "FP64"}, "takes FP32, not 'FP64'"),
        ({"datatype": "BYTES"}, "takes FP32, not 'BYTES'"),
        ({"shape": [4]}, "has the shape [-1, 4]"),
        ({"shape": [1, 5]}, "has the shape [-1, 4]"),
        ({"shape": [-1, 4]}, "has the shape [-1, 4]"),
        ({"shape": [0, 4], "data": []}, "0 samples in one request"),
        ({"shape": [5000, 4], "data": []}, "5000 samples in one request"),
        ({"shape": [2, 4]}, "its shape says [2, 4]"),
        ({"shape": [2, 4], "data": [[1, 2, 3, 4], [1, 2, 3]]}, "is no FP32"),
        ({"data": [1, 2, 3, None]}, "is no FP32"),
        ({"data": [1, 2, 3, True]}, "is no FP32"),
        ({"data": [1, 2, 3, "4"]}, "is no FP32"),
        ({"data": 5}, "no list of numbers"),
        ({"data": {}}, "no list of numbers"),
        ({"data": [[[[[[[[[[1]]]]]]]]]]}, "no list of numbers"),
        ({"data": ...}, "neither data nor binary_data_size"),
        ({"data": ..., "parameters": {"binary_data_size": 17}}, "0 bytes are left"),
        ({"data": ..., "parameters": {"binary_data_size": -1}}, "0 bytes are left"),
        ({"data": ..., "parameters": {"binary_data_size": True}}, "0 bytes are left"),
    ],
)
def test_what_does_not_fit_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadRequest) as found:
        read(body(**changes))
    assert sentence in str(found.value)


@pytest.mark.parametrize(
    ("tail", "header", "sentence"),
    [
        (bytes(15), True, "15 bytes are left"),
        (bytes(17), True, "1 bytes follow the last tensor"),
        (b"", True, "0 bytes are left"),
    ],
)
def test_bytes_that_are_too_few_or_too_many(tail: bytes, header: bool, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        read(body(data=..., parameters=BINARY), tail, header)


def test_other_faults_of_a_request() -> None:
    for asked, sentence in (
        (b"", "malformed"),
        (b"[]", "malformed"),
        (b"\xff", "malformed"),
        (b"[" * 5000, "malformed"),
        ({"inputs": []}, "'input' is not given"),
        ({"inputs": body()["inputs"] * 2}, "given twice"),
        ({"inputs": body()["inputs"] * 200}, "given twice"),
        (
            {**body(), "outputs": [{"name": "logits"}]},
            "there is no output 'logits': the model has output, entropy",
        ),
        ({**body(), "outputs": [{"name": "output"}] * 65}, "over the limit"),
        ({**body(), "id": "x" * 200}, "200 characters"),
        ({**body(), "id": 7}, "malformed"),
    ):
        with pytest.raises(BadRequest, match=sentence):
            read(asked)
    with pytest.raises(BadRequest, match="the body has 3 bytes"):
        parse(b"{} ", 4, [SPEC], OUT)
    with pytest.raises(BadRequest, match="is FP16"):
        read(body(datatype="FP16"), spec=TensorSpec("input", "FP16", (-1, 4)))
    with pytest.raises(BadRequest, match="0 or 1"):
        from_bytes("input", "BOOL", [2], memoryview(b"\0\2"))


@pytest.mark.parametrize(
    ("datatype", "data"), [("UINT8", [256]), ("UINT8", [-1]), ("UINT8", [1.5]), ("INT64", [2**63])]
)
def test_a_number_outside_its_type_is_refused_and_not_wrapped(datatype: str, data: list[Any]) -> None:

    with pytest.raises(BadRequest, match=f"is no {datatype}"):
        from_json("input", datatype, [1], msgspec.Raw(json.dumps(data).encode()))


@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(-5, 300)))
def test_no_bytes_do_more_than_be_refused(data: bytes, header_bytes: int | None) -> None:
    for read_bytes in (lambda: parse(data, header_bytes, [SPEC], OUT), lambda: parse_feedback(data)):
        with contextlib.suppress(BadRequest):
            read_bytes()


def test_feedback_has_one_label_or_several() -> None:
    assert parse_feedback(b'{"id": "a", "labels": 3}') == ("a", [3])
    assert parse_feedback(b'{"id": "a", "labels": [3, null, "red", 0.5]}') == ("a", [3, None, "red", 0.5])
    for wrong in (
        b'{"id": "a"}',
        b'{"id": 1, "labels": 1}',
        b'{"id": "a", "labels": [[1]]}',
        b'{"id": "a", "labels": true}',
    ):
        with pytest.raises(BadRequest, match="malformed"):
            parse_feedback(wrong)

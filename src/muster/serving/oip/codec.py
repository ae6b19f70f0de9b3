"""Requests and answers of the Open Inference Protocol v2, with the binary tensor extension.

A body is JSON; with the header `Inference-Header-Content-Length: N` its first N bytes are, and the tensors
whose parameters have a `binary_data_size` follow it, one after the other.
https://github.com/kserve/open-inference-protocol, and Triton's extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from numpy.typing import NDArray

from muster.protocol.envelope import UNREADABLE
from muster.serving.oip.tensors import BadRequest, TensorSpec, from_bytes, from_json, name_of, to_bytes

HEADER_LENGTH = "inference-header-content-length"
ID_CHARS_MAX = 128
TENSORS_MAX = 64


class InputTensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class WantedOutput(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class InferBody(msgspec.Struct):
    inputs: list[InputTensor]
    id: str = ""
    outputs: list[WantedOutput] = []
    parameters: dict[str, Any] = {}


class FeedbackBody(msgspec.Struct):
    """Labels of the samples of an answered request; null: not known."""

    id: str
    labels: list[int | float | str | None] | int | float | str


class Request(msgspec.Struct, frozen=True):
    """What is to be answered."""

    id: str  # "" when the client gave none
    feeds: dict[str, NDArray[Any]]
    outputs: list[tuple[str, bool]]  # names, and whether as bytes
    samples: int


_DECODER = msgspec.json.Decoder(InferBody)
_FEEDBACK = msgspec.json.Decoder(FeedbackBody)
_ENCODER = msgspec.json.Encoder()


def parse(
    body: bytes, header_bytes: int | None, inputs: Sequence[TensorSpec], outputs: Mapping[str, TensorSpec]
) -> Request:
    """A request's body, checked against the model's inputs and outputs. Raises BadRequest."""
    whole = memoryview(body)
    if header_bytes is not None and not 0 < header_bytes <= len(body):
        raise BadRequest(f"{HEADER_LENGTH} says {header_bytes}: the body has {len(body)} bytes")
    try:
        asked = _DECODER.decode(whole if header_bytes is None else whole[:header_bytes])
    except UNREADABLE as error:
        raise BadRequest(f"the request is malformed: {str(error)[:300]}") from error
    if len(asked.id) > ID_CHARS_MAX:
        raise BadRequest(f"the id has {len(asked.id)} characters: at most {ID_CHARS_MAX} are kept")
    feeds = _feeds(asked.inputs, inputs, whole[len(body) if header_bytes is None else header_bytes :])
    binary = asked.parameters.get("binary_data_output") is True
    wanted = [(out.name, out.parameters.get("binary_data", binary) is True) for out in asked.outputs]
    for name, _ in wanted:
        if name not in outputs:
            raise BadRequest(f"there is no output {name[:60]!r}: the model has {', '.join(outputs)}")
    if len(wanted) > TENSORS_MAX:
        raise BadRequest(f"{len(wanted)} outputs are over the limit of {TENSORS_MAX}")
    counts = [array.shape[0] if array.ndim else 1 for array in feeds.values()] or [1]
    if min(counts) != max(counts):
        raise BadRequest(f"the inputs have different numbers of samples: {counts}")
    return Request(asked.id, feeds, wanted or [(name, binary) for name in outputs], counts[0])


def _feeds(
    given: list[InputTensor], inputs: Sequence[TensorSpec], binary: memoryview
) -> dict[str, NDArray[Any]]:
    specs = {spec.name: spec for spec in inputs}
    feeds: dict[str, NDArray[Any]] = {}
    for tensor in given[: TENSORS_MAX + 1]:
        spec = specs.get(tensor.name)
        if spec is None:
            raise BadRequest(f"there is no input {tensor.name[:60]!r}: the model has {', '.join(specs)}")
        if tensor.name in feeds:
            raise BadRequest(f"the input {tensor.name!r} is given twice")
        spec.check(tensor.shape, tensor.datatype)
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            if not tensor.data:
                raise BadRequest(f"the input {tensor.name!r} has neither data nor binary_data_size")
            feeds[tensor.name] = from_json(tensor.name, tensor.datatype, tensor.shape, tensor.data)
            continue
        if type(size) is not int or not 0 <= size <= len(binary):
            said = f"the input {tensor.name!r} says binary_data_size {str(size)[:30]}"
            raise BadRequest(f"{said}: {len(binary)} bytes are left")
        feeds[tensor.name] = from_bytes(tensor.name, tensor.datatype, tensor.shape, binary[:size])
        binary = binary[size:]
    if len(binary):
        raise BadRequest(f"{len(binary)} bytes follow the last tensor")
    if lacking := [name for name in specs if name not in feeds]:
        raise BadRequest(f"the input {lacking[0]!r} is not given")
    return feeds


def parse_feedback(body: bytes) -> tuple[str, list[int | float | str | None]]:
    """The id of a request, and the labels of its samples. Raises BadRequest."""
    try:
        found = _FEEDBACK.decode(body)
    except UNREADABLE as error:
        raise BadRequest(f"the feedback is malformed: {str(error)[:300]}") from error
    return found.id, found.labels if isinstance(found.labels, list) else [found.labels]


def encode(
    task: str, version: str, id_: str, outputs: Sequence[tuple[str, bool]], arrays: Mapping[str, NDArray[Any]]
) -> tuple[bytes, int | None]:
    """The answer's body, and the bytes of its JSON where tensors follow as bytes."""
    tensors: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, binary in outputs:
        array = arrays[name]
        tensor: dict[str, Any] = {"name": name, "datatype": name_of(array), "shape": array.shape}
        if binary:
            data = to_bytes(array)
            tensor["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            tensor["data"] = array.ravel().tolist()
        tensors.append(tensor)
    head = _ENCODER.encode({"model_name": task, "model_version": version, "id": id_, "outputs": tensors})
    return (head, None) if not tail else (b"".join((head, *tail)), len(head))

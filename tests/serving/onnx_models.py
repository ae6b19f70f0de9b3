"""Small ONNX models with known answers, made without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES, CLASSES = 4, 3


def classifier(
    path: Path,
    favours: int = 0,
    *,
    scale: float = 10.0,
    plain: bool = False,
    kind: Any = np.float32,
    width: int = 0,
    beside: bool = False,
) -> Path:
    """uint8 or float32 samples of FEATURES numbers -> logits of CLASSES, with confidence and entropy unless
    `plain`. The answer is the place of the largest of the first three numbers, moved on by `favours`.
    `width`: of a layer beside it that only takes time. `beside`: a second input, a number a sample, is added
    to all logits."""
    weight = np.zeros((FEATURES, CLASSES), np.float32)
    for i in range(CLASSES):
        weight[i, (i + favours) % CLASSES] = scale
    onnx_kind = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    nodes = [
        helper.make_node("Cast", ["input"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "weight"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(weight, "weight")]
    last = "logits"
    if width:
        constants += [
            numpy_helper.from_array(np.zeros((CLASSES, width), np.float32), "out"),
            numpy_helper.from_array(np.zeros((width, width), np.float32), "square"),
            numpy_helper.from_array(np.zeros((width, CLASSES), np.float32), "in"),
        ]
        nodes += [helper.make_node("MatMul", ["logits", "out"], ["w0"])]
        nodes += [helper.make_node("MatMul", [f"w{i}", "square"], [f"w{i + 1}"]) for i in range(6)]
        nodes += [
            helper.make_node("MatMul", ["w6", "in"], ["w7"]),
            helper.make_node("Add", ["logits", "w7"], ["sum"]),
        ]
        last = "sum"
    inputs = [helper.make_tensor_value_info("input", onnx_kind, ["batch", FEATURES])]
    if beside:
        inputs.append(helper.make_tensor_value_info("beside", TensorProto.FLOAT, ["batch", 1]))
        nodes.append(helper.make_node("Add", [last, "beside"], ["both"]))
        last = "both"
    nodes.append(helper.make_node("Identity", [last], ["output"]))
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", CLASSES])]
    if not plain:
        nodes += [
            helper.make_node("Softmax", [last], ["p"], axis=1),
            helper.make_node("LogSoftmax", [last], ["logp"], axis=1),
            helper.make_node("ReduceMax", ["p", "axis"], ["confidence"], keepdims=0),
            helper.make_node("Mul", ["p", "logp"], ["plogp"]),
            helper.make_node("ReduceSum", ["plogp", "axis"], ["minus"], keepdims=0),
            helper.make_node("Neg", ["minus"], ["entropy"]),
        ]
        constants.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
        outputs += [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch"]) for n in ("confidence", "entropy")
        ]
    graph = helper.make_graph(
        nodes,
        "made-up",
        inputs,
        outputs,
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    helper.set_model_props(model, {"classes": json.dumps(["red", "green", "blue"]), "task": "colours"})
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(path))
    return path

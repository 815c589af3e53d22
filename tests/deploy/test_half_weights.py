# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sgpose.deploy.half_weights import halve_weights


def matrix_product(weight, bias):
    """A graph for x @ weight + bias, with metadata."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(weight)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, len(bias)])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"sgpose": "{}"})
    return model.SerializeToString()


def test_large_weights_are_rounded_and_the_rest_stays():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(64, 64)).astype(np.float32)
    bias = rng.normal(size=64).astype(np.float32)
    content = matrix_product(weight, bias)
    halved = halve_weights(content)
    assert len(halved) < 0.6 * len(content)
    onnx.checker.check_model(onnx.load_model_from_string(halved))
    session = onnxruntime.InferenceSession(halved, providers=["CPUExecutionProvider"])
    x = rng.normal(size=(5, 64)).astype(np.float32)
    expected = x @ weight.astype(np.float16).astype(np.float32) + bias
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-5, atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["sgpose"] == "{}"


@pytest.mark.parametrize(("rows", "halved"), [(15, False), (16, True)])
def test_small_weights_stay_wherever_they_stand(rows, halved):
    weight = np.full((rows, 16), 1 / 3, np.float32)  # 240 and 256 values
    model = onnx.load_model_from_string(matrix_product(weight, np.zeros(16, np.float32)))
    tensors = list(model.graph.initializer)[::-1]  # the bias, which stays, comes first
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    found = onnx.load_model_from_string(halve_weights(model.SerializeToString())).graph
    kinds = {t.name: t.data_type for t in found.initializer}
    large = {"w_half": TensorProto.FLOAT16} if halved else {"w": TensorProto.FLOAT}
    assert kinds == {"b": TensorProto.FLOAT, **large}


def test_a_weight_that_float16_cannot_hold_is_refused():
    weight = np.full((32, 32), 7e4, dtype=np.float32)
    with pytest.raises(ValueError, match="w holds values up to 70000"):
        halve_weights(matrix_product(weight, np.zeros(32, np.float32)))

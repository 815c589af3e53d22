# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sgpose.deploy.quantization import quantize

RNG = np.random.default_rng(0)
#: Output channels of quite different size: one scale for all would lose the first.
KERNEL = RNG.normal(size=(4, 3, 3, 3)) * np.array([0.001, 0.01, 0.1, 1])[:, None, None, None]
MIDDLE, LAST = RNG.normal(size=(4, 4, 1, 1)), RNG.normal(size=(2, 4, 1, 1))


@pytest.fixture(scope="module")
def network() -> bytes:
    """Crops as an exported network takes them, three convolutions, heatmaps."""
    weights = [
        numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in (
            ("kernel", KERNEL),
            ("middle", MIDDLE),
            ("last", LAST),
            ("half", np.full(1, 0.5)),
        )
    ]
    nodes = [
        helper.make_node("Cast", ["crops"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["images"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["images", "kernel"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "middle"], ["c"], "second"),
        helper.make_node("Conv", ["c", "last"], ["d"], "third"),
        helper.make_node("Mul", ["d", "half"], ["heatmaps"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", 16, 12, 3])],
        [helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, ["n", 2, 16, 12])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"sgpose": "all of it", "more": "too"})
    return model.SerializeToString()


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (6, 16, 12, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def quantized(network, crops) -> bytes:
    return quantize(network, [crops[:3], crops[3:]])


def heatmaps(content: bytes, crops: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["heatmaps"], {"crops": crops})[0]


def tensors(content: bytes) -> dict[str, np.ndarray]:
    graph = onnx.load_model_from_string(content).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def test_kernels_become_int8_with_a_scale_per_channel(quantized):
    found = tensors(quantized)
    kernel, scale = found["kernel_quantized"], found["kernel_scale"]
    assert kernel.dtype == np.int8 and scale.shape == (4,)
    expected = np.abs(KERNEL).max(axis=(1, 2, 3)) / 127
    np.testing.assert_allclose(scale, expected, rtol=0.01)
    restored = kernel * scale[:, None, None, None]
    assert (np.abs(restored - KERNEL).max(axis=(1, 2, 3)) <= 0.51 * expected * 1.01).all()


def test_the_last_layer_and_what_follows_is_left_as_it_is(quantized):
    found = tensors(quantized)
    assert found["middle_quantized"].dtype == np.int8
    np.testing.assert_array_equal(found["last"], LAST.astype(np.float32))
    assert not any(name.startswith(("last_", "half_", "d_", "heatmaps_")) for name in found)


def test_activations_are_uint8_over_the_range_of_the_batches(network, quantized, crops):
    zeros = {n: t for n, t in tensors(quantized).items() if n.endswith("_zero_point")}
    activations = [t for n, t in zeros.items() if not n.startswith(("kernel", "middle"))]
    assert activations and all(t.dtype == np.uint8 for t in activations if t.dtype != np.int32)
    plain, ours = heatmaps(network, crops), heatmaps(quantized, crops)
    assert 0 < np.abs(ours - plain).max() < 0.02 * np.abs(plain).max()
    # batches of dark crops alone: brighter values do not fit and are cut off
    dark = heatmaps(quantize(network, [crops // 8]), crops)
    assert np.abs(dark - plain).max() > 0.2 * np.abs(plain).max()


def test_metadata_and_the_level_of_the_log_stay(network, quantized):
    expected = {"sgpose": "all of it", "more": "too"}
    found = onnx.load_model_from_string(quantized).metadata_props
    assert {entry.key: entry.value for entry in found} == expected
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    try:
        with pytest.raises(ValueError):
            quantize(network, [])
        assert root.level == logging.INFO
    finally:
        root.setLevel(before)

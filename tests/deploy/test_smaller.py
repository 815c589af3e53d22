# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sgpose.deploy.pose_spec import METADATA_KEY, PoseSpec
from sgpose.deploy.smaller import compute_in_half, halve_weights, quantize

RNG = np.random.default_rng(0)
#: Output channels of quite different size: one scale for all would lose the first.
KERNEL = RNG.normal(size=(4, 3, 3, 3)) * np.array([0.001, 0.01, 0.1, 1])[:, None, None, None]
BLUR = np.full((1, 1, 3, 3), 1 / 9)
SPEC = PoseSpec(
    network="three convolutions",
    dataset="none",
    input_size=(12, 16),
    input_layout="NHWC",
    padding=1.0,
    use_udp=False,
    codec=dict(type="MSRAHeatmap", unbiased=False),
    outputs=("keypoints", "scores", "heatmaps"),
    flip_test=False,
    flip_indices=(0, 1),
    keypoint_names=("a", "b"),
    keypoint_colors=((0, 0, 0), (1, 1, 1)),
    skeleton=(),
    skeleton_colors=(),
)
METADATA = {METADATA_KEY: SPEC.to_json(), "more": "too"}
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
            ("blur", np.tile(BLUR, (2, 2, 1, 1))),
        )
    ]
    nodes = [
        helper.make_node("Cast", ["crops"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["images"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["images", "kernel"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "middle"], ["c"], "second"),
        helper.make_node("Conv", ["c", "last"], ["d"], "third"),
        helper.make_node("Mul", ["d", "half"], ["heatmaps"], "behind"),
        # a decoder, whose sums and constants are the network's, too
        helper.make_node("Add", ["heatmaps", "half"], ["e"], "add"),
        helper.make_node("Conv", ["e", "blur"], ["f"], "blurring", pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMax", ["f"], ["scores"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMin", ["f"], ["keypoints"], axes=[2, 3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", 16, 12, 3])],
        [
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, ["n", 2, 16, 12]),
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, METADATA)
    return model.SerializeToString()


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (6, 16, 12, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def quantized(network, crops) -> bytes:
    return quantize(network, [crops[:3], crops[3:]])


def outputs(content: bytes, crops: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["keypoints", "scores", "heatmaps"]
    return session.run(None, {"crops": crops})


def heatmaps(content: bytes, crops: np.ndarray) -> np.ndarray:
    return outputs(content, crops)[2]


def decoded(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the decoder makes of heatmaps, in float32."""
    padded = np.pad(maps + np.float32(0.5), ((0, 0), (0, 0), (1, 1), (1, 1)))
    shifted = [padded[:, :, j : j + 16, i : i + 12] for i in range(3) for j in range(3)]
    blurred = np.sum(shifted, axis=(0, 2), dtype=np.float32) / 9
    return blurred.min(axis=(1, 2)), blurred.max(axis=(1, 2))


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
    assert not any(name.startswith(("last_", "half_", "d_", "heatmaps_", "e_")) for name in found)
    np.testing.assert_array_equal(found["decoder/blur"][0, 0], np.float32(BLUR[0, 0]))


def test_activations_are_uint8_over_the_range_of_the_batches(network, quantized, crops):
    zeros = {n: t for n, t in tensors(quantized).items() if n.endswith("_zero_point")}
    activations = [t for n, t in zeros.items() if not n.startswith(("kernel", "middle"))]
    assert activations and all(t.dtype == np.uint8 for t in activations if t.dtype != np.int32)
    plain, ours = heatmaps(network, crops), heatmaps(quantized, crops)
    assert 0 < np.abs(ours - plain).max() < 0.02 * np.abs(plain).max()
    # batches of dark crops alone: brighter values do not fit and are cut off
    dark = heatmaps(quantize(network, [crops // 8]), crops)
    assert np.abs(dark - plain).max() > 0.2 * np.abs(plain).max()


@pytest.mark.parametrize("change", ["quantized", "half"])
def test_what_is_decoded_is_decoded_in_float32(network, quantized, crops, change):
    content = quantized if change == "quantized" else compute_in_half(network)
    keypoints, scores, maps = outputs(content, crops)
    assert np.abs(maps - heatmaps(network, crops)).max() > 0
    smallest, largest = decoded(maps)
    np.testing.assert_allclose(keypoints, np.stack([smallest] * 2, axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores, np.stack([largest] * 2, axis=1), rtol=1e-5, atol=1e-5)


def test_float16_is_what_the_network_computes_in(network, crops):
    content = compute_in_half(network)
    kernels = {n: t.dtype for n, t in tensors(content).items()}
    assert kernels["kernel"] == kernels["last"] == np.float16
    assert kernels["decoder/blur"] == np.float32
    plain, ours = heatmaps(network, crops), heatmaps(content, crops)
    assert 0 < np.abs(ours - plain).max() < 0.01 * np.abs(plain).max()
    found = onnx.load_model_from_string(content).metadata_props
    assert {entry.key: entry.value for entry in found} == METADATA


def test_metadata_and_the_level_of_the_log_stay(network, quantized):
    found = onnx.load_model_from_string(quantized).metadata_props
    assert {entry.key: entry.value for entry in found} == METADATA
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    try:
        with pytest.raises(ValueError):
            quantize(network, [])
        assert root.level == logging.INFO
    finally:
        root.setLevel(before)


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

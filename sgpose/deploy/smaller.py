# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Finished files made smaller or faster by rounding. Decoding stays as it is, in float32."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, compose, helper, numpy_helper
from onnx.utils import Extractor
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from .pose_spec import METADATA_KEY, PoseSpec

OPERATORS = ["Conv", "Add", "Relu", "Resize"]
PREFIX = "decoder/"
SMALLEST = 256  # values; smaller tensors save nothing


class _Batches(CalibrationDataReader):
    def __init__(self, batches: Iterable[np.ndarray]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict | None:
        batch = next(self.batches, None)
        return None if batch is None else {"crops": batch}


def quantize(content: bytes, batches: Iterable[np.ndarray]) -> bytes:
    """Quantise the layers of an exported network, except the last convolution and what follows.

    Activations become uint8, kernels int8 with one scale per channel.

    Args:
        content: The ONNX file.
        batches: Crops as the graph takes them, by which the range of each layer's values is found.

    Returns:
        The quantised ONNX file, with the same metadata.
    """

    def quantized(network: ModelProto) -> ModelProto:
        with tempfile.TemporaryDirectory() as folder:
            plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
            onnx.save(network, plain)
            quant_pre_process(plain, plain, skip_symbolic_shape=True)
            root = logging.getLogger()
            level, root.level = root.level, logging.ERROR  # it advises what has just been done
            try:
                quantize_static(
                    plain,
                    small,
                    _Batches(batches),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=OPERATORS,
                    nodes_to_exclude=from_the_last_convolution(onnx.load(plain)),
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
            finally:
                root.level = level
            return onnx.load(small)

    return change_network(content, quantized)


def from_the_last_convolution(network: ModelProto) -> list[str]:
    """Return the names of the last convolution, wherever it stands, and of all nodes behind it."""
    kernels = [node.input[1] for node in network.graph.node if node.op_type == "Conv"]
    names: list[str] = []
    behind: set[str] = set()
    for node in network.graph.node:
        is_last = node.op_type == "Conv" and node.input[1] == kernels[-1]
        if is_last or not behind.isdisjoint(node.input):
            names.append(node.name)
            behind.update(node.output)
    return names


def compute_in_half(content: bytes) -> bytes:
    """Let the network compute in float16, as GPUs do it fastest; inputs and outputs stay.

    Args:
        content: The ONNX file.

    Returns:
        The ONNX file in float16, with the same metadata.
    """

    def halved(network: ModelProto) -> ModelProto:
        network = convert_float_to_float16(network, keep_io_types=True)
        OnnxModel(network).topological_sort()  # the converter puts its casts at the end
        return network

    return change_network(content, halved)


def change_network(content: bytes, change: Callable[[ModelProto], ModelProto]) -> bytes:
    """Change an exported file up to what is decoded.

    Args:
        content: The ONNX file.
        change: Given the network without the decoder, it returns another one of the same inputs
            and outputs.
    """
    model = onnx.load_model_from_string(content)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    spec = PoseSpec.from_json(metadata[METADATA_KEY])
    given, names = [i.name for i in model.graph.input], [o.name for o in model.graph.output]
    others = [name for name in names if name not in ("keypoints", "scores", *spec.decoded)]
    extractor = Extractor(model)
    network = change(extractor.extract_model(given, [*spec.decoded, *others]))
    decoder = extractor.extract_model(list(spec.decoded), ["keypoints", "scores"])
    network.ir_version = decoder.ir_version = max(network.ir_version, decoder.ir_version)
    merged = compose.merge_models(
        network,
        compose.add_prefix(decoder, PREFIX),  # both may hold a constant of one name
        io_map=[(name, PREFIX + name) for name in spec.decoded],
    )
    back = {PREFIX + name: name for name in ("keypoints", "scores")}
    for node in merged.graph.node:
        node.input[:] = [back.get(name, name) for name in node.input]
        node.output[:] = [back.get(name, name) for name in node.output]
    outputs = list(model.graph.output)
    del merged.graph.output[:]
    merged.graph.output.extend(outputs)
    del merged.metadata_props[:]
    helper.set_model_props(merged, metadata)
    onnx.checker.check_model(merged)
    return merged.SerializeToString()


def halve_weights(content: bytes) -> bytes:
    """Store the weights of a graph in float16; it computes in float32 all the same.

    Each large constant is followed by a cast, which ONNX Runtime does once when it loads the file.

    Args:
        content: The ONNX file.

    Returns:
        The smaller ONNX file, with the same metadata.

    Raises:
        ValueError: If a weight is too large for float16.
    """
    model = onnx.load_model_from_string(content)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST:
            continue
        with np.errstate(over="ignore"):
            name, half = tensor.name, values.astype(np.float16)
        if not np.isfinite(half).all():
            raise ValueError(f"{name} holds values up to {np.abs(values).max()}: not in float16")
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()

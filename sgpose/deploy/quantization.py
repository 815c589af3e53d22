# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Exported graphs in 8-bit integers, by ONNX Runtime's static quantisation."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

OPERATORS = ["Conv", "Add", "Relu", "Resize"]


class _Batches(CalibrationDataReader):
    def __init__(self, batches: Iterable[np.ndarray]) -> None:
        self.batches = iter(batches)

    def get_next(self) -> dict | None:
        batch = next(self.batches, None)
        return None if batch is None else {"crops": batch}


def quantize(content: bytes, batches: Iterable[np.ndarray]) -> bytes:
    """Quantise the layers of an exported network, except the last that makes the heatmaps.

    Activations become uint8, kernels int8 with one scale per channel.

    Args:
        content: The ONNX file.
        batches: Crops (B, h, w, 3) as the network sees them, by which the range of each layer's
            values is found.

    Returns:
        The quantised ONNX file, with the same metadata.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = Path(folder) / "plain.onnx", Path(folder) / "quantized.onnx"
        plain.write_bytes(content)
        quant_pre_process(plain, plain, skip_symbolic_shape=True)
        convs = [node.name for node in onnx.load(plain).graph.node if node.op_type == "Conv"]
        root = logging.getLogger()
        level, root.level = root.level, logging.ERROR  # it advises what has just been done
        try:
            quantize_static(
                plain,
                quantized,
                _Batches(batches),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=OPERATORS,
                nodes_to_exclude=convs[-1:],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        finally:
            root.level = level
        graph = onnx.load(quantized)
    metadata = {p.key: p.value for p in onnx.load_model_from_string(content).metadata_props}
    onnx.helper.set_model_props(graph, metadata)
    return graph.SerializeToString()

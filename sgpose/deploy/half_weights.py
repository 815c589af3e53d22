# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Exported graphs whose weights take half the room."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALLEST = 256  # values; smaller tensors save nothing


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

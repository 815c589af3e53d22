# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Write a trained top-down model as one ONNX file, checked against PyTorch."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import io
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.apis import init_model
from mmpose.models.pose_estimators import TopdownPoseEstimator
from torch import nn

try:
    import onnx
    import onnxruntime  # noqa: F401  (the check runs the file)
except ImportError as error:
    raise ImportError(
        f"exporting needs onnx and ONNX Runtime ({error}). Install them: "
        "pip install onnx onnxruntime"
    ) from error

from .describe import check_decoded, describe, has_guide_maps
from .folding import drop_maps, fuse_layers
from .network import ExportedNetwork
from .pose_spec import METADATA_KEY
from .smaller import compute_in_half, halve_weights, quantize
from .verification import (
    ExportReport,
    check_report,
    compare,
    persons_in_pictures,
    persons_to_compare,
    training_crops,
)

MIN_OPSET = 13
TRACED_PERSONS = 2
#: The histories of the loss weighting and of an automatic loss weight.
IN_TRAINING_ALONE = ("head.loss_weighting.", "head.segmentation_loss.")


def export_onnx(
    config: str | Path | Config,
    checkpoint: str | Path,
    out: str | Path,
    *,
    flip_test: bool = True,
    heatmaps: bool = False,
    guide_maps: bool = False,
    float_input: bool = False,
    int8: int = 0,
    half: bool = False,
    fp16: bool = False,
    opset: int = 17,
    dynamo: bool = False,
    images: Sequence[str | Path] = (),
    tolerance: float = 1e-4,
    keypoint_tolerance: float | None = None,
) -> ExportReport:
    """Export a model of MMPose, guided or not, as an ONNX file that :class:`OnnxPose` runs.

    The graph takes ``crops``, (B, h, w, 3) uint8 in the order BGR for any B, normalises them,
    averages with the mirrored crops where the model's test settings say so, and decodes. It returns
    ``keypoints`` (B, K, 2) in pixels of the crop and ``scores`` (B, K). What else it takes to get
    from an image to keypoints is in its metadata and in the JSON file that is written beside it.

    Args:
        config: Config of the model, path or object.
        checkpoint: Its weights.
        out: The file to write. It is replaced only when the new one has passed the comparison.
        flip_test: False leaves the flip test out.
        heatmaps: Return ``heatmaps`` (B, K, H, W) too, or ``simcc_x`` and ``simcc_y``.
        guide_maps: Return the guides' maps (B, S, H, W) in [0, 1] too, as ``guide_maps``.
        float_input: Take crops (B, 3, h, w) of float32, 0 to 255 in the order BGR, instead.
        int8: Number of persons of the config's training data by which the layers are quantised to
            8 bits; 0 leaves them in float32.
        half: Store the weights in float16, which halves the file; it computes in float32.
        fp16: Compute in float16, for GPUs; decoding stays in float32.
        opset: Version of ONNX's operators.
        dynamo: Export with PyTorch's newer exporter, ``torch.onnx.export(dynamo=True)``, which
            needs PyTorch 2.6 and onnxscript.
        images: Pictures on which the file is compared with PyTorch, whole and their middle.
            Defaults to persons of the config's test data, or noise where those are not there.
        tolerance: Allowed difference of an output, as a fraction of its largest value. With
            ``int8``, ``half`` or ``fp16`` it is only reported.
        keypoint_tolerance: Allowed difference of keypoints in pixels of the crop, by default 0.05
            for the largest; with ``int8``, ``half`` or ``fp16`` 2 for the median.

    Returns:
        The differences found.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If the model, its weights or its settings cannot be exported faithfully, or a
            picture cannot be read.
        RuntimeError: If the exported file differs from PyTorch by more than is allowed.
    """
    out = Path(out)
    if opset < MIN_OPSET:
        raise ValueError(f"opset must be {MIN_OPSET} or newer, got {opset}")
    if int8 < 0:
        raise ValueError(f"int8 must be a number of persons to calibrate on, got {int8}")
    if fp16 and (int8 or half):
        raise ValueError("fp16 computes and stores in float16: it does not go with int8 or half")
    model = load_model(config, checkpoint)
    spec = describe(
        model,
        flip_test=flip_test,
        float_input=float_input,
        heatmaps=heatmaps,
        guide_maps=guide_maps,
    )
    if guide_maps and not has_guide_maps(model, spec):
        raise ValueError(f"{type(model.backbone).__name__} has no guides whose maps to export")
    reference = ExportedNetwork(copy.deepcopy(model), spec).eval()
    width, height = spec.input_size
    with torch.no_grad():
        decoded, _ = reference.predict(torch.zeros(1, 3, height, width))
    check_decoded(decoded, model.head, spec)
    persons = persons_in_pictures(images) if images else persons_to_compare(model.cfg)
    calibration = training_crops(model.cfg, int8, spec) if int8 else []

    folded = fuse_layers(copy.deepcopy(model))
    network = ExportedNetwork(folded if guide_maps else drop_maps(folded), spec)
    content = to_onnx(network, opset, dynamo)
    if float_input:
        content = with_equal_factors(content)
    if int8:
        content = quantize(content, calibration)
    if half:
        content = halve_weights(content)
    if fp16:
        content = compute_in_half(content)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        candidate, beside = Path(folder) / out.name, Path(folder) / "pose.json"
        candidate.write_bytes(content)
        report = compare(candidate, out, model, reference, persons)
        check_report(report, tolerance, keypoint_tolerance, rounded=bool(int8 or half or fp16))
        candidate.write_bytes(without_outputs(content, set(network.output_names) - {*spec.outputs}))
        beside.write_text(spec.to_json(indent=1) + "\n", encoding="utf-8")
        os.replace(candidate, out)
        os.replace(beside, out.with_suffix(".json"))
    return report


def load_model(config: str | Path | Config, checkpoint: str | Path) -> TopdownPoseEstimator:
    """Build a model as ``init_model`` does, and insist on all weights that inference needs.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If weights are missing, left over or of another shape, or the model is none that
            works top-down.
    """
    model = init_model(config, device="cpu")
    if not isinstance(model, TopdownPoseEstimator):
        raise ValueError(
            f"only top-down models can be exported, {type(model).__name__} is none of them"
        )
    model.register_load_state_dict_post_hook(_forget_loss_weighting)
    try:
        loaded = load_checkpoint(model, str(checkpoint), map_location="cpu", strict=True)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        if "fold_guides" in reason or _is_fused(model, str(checkpoint)):
            reason = "it is of a folded model: export the checkpoint that it was folded from"
        raise ValueError(
            f"{checkpoint} does not fit the config: {reason[:600]}{'...' * (len(reason) > 600)}"
        ) from error
    model.dataset_meta = loaded.get("meta", {}).get("dataset_meta", model.dataset_meta)
    return model


def _is_fused(model: nn.Module, checkpoint: str) -> bool:
    """Whether the model has batch normalisations, and the weights have biases in their places."""
    weights = CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu")
    given = weights.get("state_dict", weights) if isinstance(weights, dict) else {}
    convs = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.bias is None]
    fused = any(f"{name}.bias" in given for name in convs)
    return fused and not any(name.endswith(".running_mean") for name in given)


def _forget_loss_weighting(model: nn.Module, incompatible) -> None:
    """Leave out of a comparison of keys what matters in training alone."""
    for keys in (incompatible.missing_keys, incompatible.unexpected_keys):
        keys[:] = [key for key in keys if not key.startswith(IN_TRAINING_ALONE)]


@torch.no_grad()
def to_onnx(network: ExportedNetwork, opset: int, dynamo: bool = False) -> bytes:
    """Return the content of the ONNX file, with all the outputs of the network.

    Args:
        network: The network, in evaluation mode afterwards.
        opset: Version of ONNX's operators.
        dynamo: Export with PyTorch's newer exporter.

    Raises:
        ValueError: If this PyTorch cannot export to these operators, or has not that exporter.
    """
    width, height = network.spec.input_size
    if network.spec.input_layout == "NCHW":
        crops = torch.zeros(TRACED_PERSONS, 3, height, width)
    else:
        crops = torch.zeros(TRACED_PERSONS, height, width, 3, dtype=torch.uint8)
    names = ["crops", *network.output_names]
    options = _exporter(dynamo, names)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that tracing fixes: the comparison follows
        try:
            torch.onnx.export(
                network.eval(),
                (crops,),
                buffer,
                input_names=names[:1],
                output_names=names[1:],
                opset_version=opset,
                **options,
            )
            graph = onnx.load_model_from_string(buffer.getvalue())
            for value, output in zip(graph.graph.output, network(crops)):
                for axis, size in zip(value.type.tensor_type.shape.dim[1:], output.shape[1:]):
                    axis.dim_value = size
            onnx.checker.check_model(graph)
        except (ValueError, RuntimeError, onnx.checker.ValidationError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"PyTorch {torch.__version__} cannot export this model with opset {opset}: "
                f"{reason[:200]}{'...' * (len(reason) > 200)}"
            ) from error
    onnx.helper.set_model_props(graph, {METADATA_KEY: network.spec.to_json()})
    return graph.SerializeToString()


def _exporter(dynamo: bool, names: list[str]) -> dict:
    """Return the arguments of ``torch.onnx.export`` that choose the exporter and free the batch."""
    free = {name: {0: "persons"} for name in names}
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        if dynamo:
            raise ValueError(
                f"PyTorch {torch.__version__} has only one exporter: leave dynamo out, or use "
                "PyTorch 2.6 or newer"
            )
        return dict(dynamic_axes=free)
    if not dynamo:
        return dict(dynamic_axes=free, dynamo=False)
    if importlib.util.find_spec("onnxscript") is None:
        raise ValueError("PyTorch's newer exporter needs onnxscript: pip install onnxscript")
    export = importlib.import_module("torch.export")
    return dict(
        dynamic_shapes=({0: export.Dim("persons")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def without_outputs(content: bytes, names: set[str]) -> bytes:
    """Return an ONNX file whose graph keeps these outputs to itself."""
    model = onnx.load_model_from_string(content)
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(output for output in outputs if output.name not in names)
    model.graph.value_info.extend(output for output in outputs if output.name in names)
    return model.SerializeToString()


def with_equal_factors(content: bytes) -> bytes:
    """Return an ONNX file that multiplies feature maps by maps with as many channels.

    OpenCV 5 does not run a convolution behind a product of (B, C, h, w) and (B, 1, h, w).
    """
    model = onnx.load_model_from_string(content)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    channels = {
        value.name: value.type.tensor_type.shape.dim[1].dim_value
        for value in inferred.value_info
        if len(value.type.tensor_type.shape.dim) == 4
    }
    nodes = []
    for node in model.graph.node:
        sizes = [channels.get(name, 0) for name in node.input]
        if node.op_type == "Mul" and min(sizes) == 1 < max(sizes):
            few = sizes.index(1)
            shape, wide = f"{node.name}/shape", f"{node.name}/wide"
            nodes.append(onnx.helper.make_node("Shape", [node.input[1 - few]], [shape]))
            nodes.append(onnx.helper.make_node("Expand", [node.input[few], shape], [wide]))
            node.input[few] = wide
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()

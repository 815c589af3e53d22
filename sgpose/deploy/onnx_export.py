# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Write a trained top-down model as one ONNX file, checked against PyTorch."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import io
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from mmengine.runner import load_checkpoint
from mmpose.apis import inference_topdown, init_model
from mmpose.codecs import MSRAHeatmap, SimCCLabel, UDPHeatmap
from mmpose.datasets.transforms import (
    GetBBoxCenterScale,
    LoadImage,
    PackPoseInputs,
    TopdownAffine,
)
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.models.utils.tta import flip_heatmaps, flip_vectors
from mmpose.registry import DATASETS, TRANSFORMS
from torch import Tensor, nn

try:
    import onnx
    import onnxruntime
except ImportError as error:
    raise ImportError(
        f"exporting needs onnx and ONNX Runtime ({error}). Install them: "
        "pip install onnx onnxruntime"
    ) from error

from ..datasets import toy_sample
from ..models import SGBackbone, SGHRNet
from ..models.heads.segmentation_guided_head import attention_maps
from .crops import crop_persons, read_image
from .folding import drop_maps, fuse_layers
from .half_weights import halve_weights
from .onnx_pose import OnnxPose
from .pose_spec import METADATA_KEY, PoseSpec
from .quantization import quantize

MIN_OPSET = 12
TRACED_PERSONS = 2
CHECKED_AT_ONCE = 3  # another number of persons than was traced
NUM_COMPARED = 32  # persons of the training data with which a quantised file is compared


@dataclass(frozen=True)
class ExportReport:
    """How near an exported file comes to PyTorch.

    Args:
        path: The file.
        differences: For each output of the graph the largest difference to the unfolded model,
            and the largest value of that output.
        keypoint_difference: Largest difference of :class:`OnnxPose` to MMPose's
            ``inference_topdown`` in x or y, in pixels of the image.
        median_difference: The median one.
        num_persons: Number of boxes that were compared.
    """

    path: Path
    differences: dict[str, tuple[float, float]]
    keypoint_difference: float
    median_difference: float
    num_persons: int


def export_onnx(
    config: str | Path | Config,
    checkpoint: str | Path,
    out: str | Path,
    *,
    decode: bool = False,
    flip_test: bool = False,
    guide_maps: bool = False,
    int8: int = 0,
    half: bool = False,
    opset: int = 17,
    dynamo: bool = False,
    images: Sequence[str | Path] = (),
    tolerance: float = 1e-4,
    keypoint_tolerance: float | None = None,
) -> ExportReport:
    """Export a model of MMPose, guided or not, as an ONNX file that :class:`OnnxPose` runs.

    The graph takes ``crops``, (B, h, w, 3) uint8 in the order BGR for any B, and normalises them
    itself. It returns ``heatmaps`` (B, K, H, W), or ``simcc_x`` and ``simcc_y``, or with ``decode``
    ``keypoints`` (B, K, 2) in pixels of the crop and ``scores`` (B, K); besides, ``guide_maps``
    (B, S, H, W). What else it takes to get from an image to keypoints is in its metadata.

    Args:
        config: Config of the model, path or object.
        checkpoint: Its weights.
        out: The file to write. It is replaced only when the new one has passed the comparison.
        decode: Decode in the graph: ``MSRAHeatmap`` with ``unbiased=False`` and ``SimCCLabel``.
        flip_test: Average with the mirrored crop in the graph.
        guide_maps: Return the guides' maps, too.
        int8: Number of persons of the config's training data by which the layers are quantised to
            8 bits; 0 leaves them in float32.
        half: Store the weights in float16, which halves the file; it computes in float32.
        opset: Version of ONNX's operators.
        dynamo: Export with PyTorch's newer exporter, ``torch.onnx.export(dynamo=True)``, which
            needs PyTorch 2.6 and onnxscript.
        images: Pictures on which the file is compared with PyTorch, whole and their middle.
            Defaults to toy people, with ``int8`` to persons of the training data.
        tolerance: Allowed difference of an output, as a fraction of its largest value. With
            ``int8`` or ``half`` it is only reported.
        keypoint_tolerance: Allowed difference of keypoints in pixels of the image, by default 0.05
            for the largest; with ``int8`` or ``half`` 2 for the median.

    Returns:
        The differences found.

    Raises:
        ValueError: If the model, its weights or its settings cannot be exported faithfully, or a
            picture cannot be read.
        RuntimeError: If the exported file differs from PyTorch by more than is allowed.
    """
    out = Path(out)
    if opset < MIN_OPSET:
        raise ValueError(f"opset must be {MIN_OPSET} or newer, got {opset}")
    model = load_model(config, checkpoint)
    spec = describe(model, decode, flip_test)
    if guide_maps and not _is_guided(model):
        raise ValueError(f"{type(model.backbone).__name__} has no guides whose maps to export")
    check_outputs(model, spec)
    persons = [(picture, _whole_and_middle(picture)) for picture in map(read_image, images)]
    calibration = training_persons(model.cfg, int8 + NUM_COMPARED) if int8 else []
    persons = persons or calibration[int8:] or toy_persons()

    reference = ExportedNetwork(model, spec, guide_maps)
    folded = fuse_layers(copy.deepcopy(model))
    network = ExportedNetwork(folded if guide_maps else drop_maps(folded), spec, guide_maps)
    content = to_onnx(network, spec, opset, dynamo)
    if int8:
        content = quantize(content, _batches(spec, calibration[:int8]))
    if half:
        content = halve_weights(content)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        candidate = Path(folder) / out.name
        candidate.write_bytes(content)
        report = compare(candidate, out, model, reference, persons)
        if int8 or half:
            check_median(report, 2.0 if keypoint_tolerance is None else keypoint_tolerance)
        else:
            check_differences(report, tolerance)
            check_keypoints(report, 0.05 if keypoint_tolerance is None else keypoint_tolerance)
        os.replace(candidate, out)
    return report


def load_model(config: str | Path | Config, checkpoint: str | Path) -> nn.Module:
    """Build a model as ``init_model`` does, and insist on all weights that inference needs.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If weights are missing, left over or of another shape.
    """
    model = init_model(config, device="cpu")
    model.register_load_state_dict_post_hook(_forget_loss_weighting)
    try:
        loaded = load_checkpoint(model, str(checkpoint), map_location="cpu", strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{checkpoint} does not fit the config: {reason[:600]}{'...' * (len(reason) > 600)}"
        ) from error
    model.dataset_meta = loaded.get("meta", {}).get("dataset_meta", model.dataset_meta)
    return model


def _forget_loss_weighting(model: nn.Module, incompatible) -> None:
    """Leave out of a comparison of keys what matters in training alone."""
    for keys in (incompatible.missing_keys, incompatible.unexpected_keys):
        keys[:] = [key for key in keys if not key.startswith("head.loss_weighting.")]


def describe(model: nn.Module, decode: bool, flip_test: bool) -> PoseSpec:
    """Collect what the runtime must know of a model that ``init_model`` built.

    Args:
        model: The model, with ``cfg`` and ``dataset_meta``.
        decode: Whether keypoints are decoded in the graph.
        flip_test: Whether the flip test is part of the graph.

    Raises:
        ValueError: If the model does something that the runtime does not.
    """
    if not isinstance(model, TopdownPoseEstimator):
        raise ValueError(
            f"only top-down models can be exported, {type(model).__name__} is none of them"
        )
    test_cfg = model.test_cfg or {}
    if "output_keypoint_indices" in test_cfg:
        raise ValueError("test_cfg.output_keypoint_indices cannot be exported: leave it out")
    if test_cfg.get("flip_mode", "heatmap") != "heatmap":
        raise ValueError(f"flip_mode {test_cfg['flip_mode']!r} cannot be exported, only 'heatmap'")
    codec, output = _describe_codec(getattr(model.head, "decoder", None))
    if decode:
        if codec["type"] == "UDPHeatmap" or codec.get("unbiased"):
            raise ValueError(
                f"{codec['type']} refines keypoints with a blur that ONNX has no operator for: "
                "export its heatmaps instead, which OnnxPose decodes as MMPose does"
            )
        output = "keypoints"
    scale, affine = _read_pipeline(model.cfg.test_dataloader.dataset.pipeline)
    if tuple(affine.input_size) != tuple(model.head.decoder.input_size):
        raise ValueError(
            f"the test pipeline makes crops of {tuple(affine.input_size)}, the codec expects "
            f"{tuple(model.head.decoder.input_size)}: set both to the same width and height"
        )
    preprocessor = model.data_preprocessor
    if preprocessor.pad_size_divisor != 1:
        raise ValueError("a data_preprocessor with pad_size_divisor cannot be exported")
    normalises = preprocessor._enable_normalize
    meta = model.dataset_meta
    return PoseSpec(
        input_size=tuple(affine.input_size),
        padding=float(scale.padding),
        use_udp=bool(affine.use_udp),
        mean=tuple(preprocessor.mean.flatten().tolist()) if normalises else (),
        std=tuple(preprocessor.std.flatten().tolist()) if normalises else (),
        bgr_to_rgb=bool(preprocessor._channel_conversion),
        codec=codec,
        output=output,
        flip_test=bool(test_cfg.get("flip_test", False)),
        flip_test_in_graph=flip_test,
        shift_heatmap=bool(test_cfg.get("shift_heatmap", False)),
        flip_indices=tuple(int(i) for i in meta["flip_indices"]),
        keypoint_names=tuple(meta["keypoint_id2name"][i] for i in range(meta["num_keypoints"])),
        skeleton=tuple((int(a), int(b)) for a, b in meta["skeleton_links"]),
        dataset=str(meta["dataset_name"]),
    )


def _describe_codec(decoder) -> tuple[dict, str]:
    """Return the codec as :class:`PoseSpec` holds it, and the kind of output that it decodes."""
    decode = getattr(type(decoder), "decode", None)
    if decode is MSRAHeatmap.decode:
        codec = dict(
            type="MSRAHeatmap",
            unbiased=bool(decoder.unbiased),
            blur_kernel_size=int(decoder.blur_kernel_size),
            heatmap_size=tuple(decoder.heatmap_size),
        )
        return codec, "heatmaps"
    if decode is UDPHeatmap.decode and decoder.heatmap_type == "gaussian":
        codec = dict(
            type="UDPHeatmap",
            blur_kernel_size=int(decoder.blur_kernel_size),
            heatmap_size=tuple(decoder.heatmap_size),
        )
        return codec, "heatmaps"
    if decode is SimCCLabel.decode and not decoder.use_dark:
        return dict(type="SimCCLabel", split_ratio=float(decoder.simcc_split_ratio)), "simcc"
    options = {
        name: getattr(decoder, name)
        for name in ("heatmap_type", "use_dark")
        if hasattr(decoder, name)
    }
    raise ValueError(
        f"the codec {type(decoder).__name__} {options or ''} cannot be exported: the runtime "
        "decodes MSRAHeatmap, UDPHeatmap with heatmap_type='gaussian', and SimCCLabel with "
        "use_dark=False"
    )


def _read_pipeline(
    pipeline: Sequence[dict],
) -> tuple[GetBBoxCenterScale, TopdownAffine]:
    """Build the transforms that make crops; raise a ValueError if they are other than expected."""
    transforms = [TRANSFORMS.build(cfg) for cfg in pipeline]
    kinds = [LoadImage, GetBBoxCenterScale, TopdownAffine, PackPoseInputs]
    names = [type(transform).__name__ for transform in transforms]
    if len(names) != len(kinds) or not all(map(isinstance, transforms, kinds)):
        raise ValueError(
            f"the test pipeline is {names}, the runtime does what "
            f"{[kind.__name__ for kind in kinds]} do, and no more"
        )
    load, scale, affine = transforms[:3]
    if load.to_float32 or load.color_type != "color" or load.imdecode_backend != "cv2":
        raise ValueError("LoadImage is not as by default: the runtime reads 8-bit colour by OpenCV")
    return scale, affine


def _is_guided(model: nn.Module) -> bool:
    return isinstance(model.backbone, (SGHRNet, SGBackbone))


@torch.no_grad()
def check_outputs(model: nn.Module, spec: PoseSpec) -> None:
    """Raise a ValueError unless the head returns what the codec decodes."""
    width, height = spec.input_size
    outputs = model(torch.zeros(1, 3, height, width), None, mode="tensor")
    found = [
        tuple(o.shape) if isinstance(o, Tensor) else type(o).__name__ for o in _listed(outputs)
    ]
    count = len(spec.keypoint_names)
    if spec.codec["type"] == "SimCCLabel":
        ratio = spec.codec["split_ratio"]
        needed = [(1, count, int(width * ratio)), (1, count, int(height * ratio))]
    else:
        needed = [(1, count, *spec.codec["heatmap_size"][::-1])]
    if found != needed:
        raise ValueError(
            f"{type(model.head).__name__} returns {found} for one crop, {spec.codec['type']} with "
            f"the {count} keypoints of {spec.dataset} decodes {needed}"
        )


class ExportedNetwork(nn.Module):
    """What becomes the graph: from crops to the outputs that :func:`export_onnx` describes.

    Args:
        model: The pose estimator, folded or not.
        spec: What the file will say about itself.
        guide_maps: Whether the guides' maps are an output.
    """

    def __init__(self, model: nn.Module, spec: PoseSpec, guide_maps: bool) -> None:
        super().__init__()
        self.model = model
        self.spec = spec
        self.guide_maps = guide_maps
        raw = ["simcc_x", "simcc_y"] if spec.codec["type"] == "SimCCLabel" else ["heatmaps"]
        decoded = ["keypoints", "scores"]
        self.output_names = decoded if spec.output == "keypoints" else raw
        self.output_names = self.output_names + ["guide_maps"] * guide_maps

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Run the network on crops (B, h, w, 3), uint8 in the order BGR."""
        images = ImgDataPreprocessor.forward(
            self.model.data_preprocessor, dict(inputs=crops.permute(0, 3, 1, 2))
        )["inputs"]
        if self.spec.flip_test_in_graph:
            images = torch.cat([images, images.flip(-1)])
        feats = self.model.extract_feat(images)
        outputs = _listed(self.model.head.forward(feats))
        if self.guide_maps:
            outputs = outputs + [attention_maps(feats)]
        if self.spec.flip_test_in_graph:
            outputs = self._average(outputs)
        if self.spec.output == "keypoints":
            count = len(outputs) - self.guide_maps
            outputs = [*self._decode(*outputs[:count]), *outputs[count:]]
        return tuple(outputs)

    def _average(self, outputs: list[Tensor]) -> list[Tensor]:
        # not chunk or split, which the exporter would fix to the traced number of persons
        plain, mirrored = zip(*(o.reshape(2, -1, *o.shape[1:]).unbind() for o in outputs))
        indices, shift = list(self.spec.flip_indices), self.spec.shift_heatmap
        if self.spec.codec["type"] == "SimCCLabel":
            back = list(flip_vectors(*mirrored[:2], flip_indices=indices))
        else:
            back = [flip_heatmaps(mirrored[0], indices, shift_heatmap=shift)]
        if self.guide_maps:
            back.append(flip_heatmaps(mirrored[-1], shift_heatmap=shift))
        return [(a + b) * 0.5 for a, b in zip(plain, back)]

    def _decode(self, *outputs: Tensor) -> tuple[Tensor, Tensor]:
        if self.spec.codec["type"] == "SimCCLabel":
            return decode_simcc(*outputs, self.spec.codec["split_ratio"])
        return decode_quarter_offset(*outputs, self.spec.input_size)


def decode_quarter_offset(heatmaps: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Decode heatmaps as MSRAHeatmap with ``unbiased=False`` does, in operators that ONNX has.

    Args:
        heatmaps: (B, K, H, W).
        input_size: Width and height of the crops.

    Returns:
        Keypoints (B, K, 2) in pixels of the crops and scores (B, K).
    """
    height, width = (int(size) for size in heatmaps.shape[2:])
    flat = heatmaps.flatten(2)
    scores, index = flat.max(dim=-1)
    y = torch.div(index, width, rounding_mode="floor")
    x = index - y * width

    def at(i, j):
        place = (y + j).clamp(0, height - 1) * width + (x + i).clamp(0, width - 1)
        return flat.gather(-1, place[..., None])[..., 0]

    in_x = (x > 1) & (x < width - 1) & (y > 0)
    in_y = (y > 1) & (y < height - 1) & (x > 0)
    dx = (at(1, 0) - at(-1, 0)).sign() * in_x
    dy = (at(0, 1) - at(0, -1)).sign() * in_y
    places = torch.stack([x, y], dim=-1) + 0.25 * torch.stack([dx, dy], dim=-1)
    places = torch.where((scores > 0)[..., None], places, -torch.ones_like(places))
    scale = heatmaps.new_tensor([input_size[0] / width, input_size[1] / height])
    return places * scale, scores


def decode_simcc(x: Tensor, y: Tensor, split_ratio: float) -> tuple[Tensor, Tensor]:
    """Decode SimCC's distributions (B, K, Wx) and (B, K, Wy), in operators that ONNX has.

    Returns:
        Keypoints (B, K, 2) in pixels of the crops and scores (B, K).
    """
    (score_x, place_x), (score_y, place_y) = x.max(dim=-1), y.max(dim=-1)
    scores = torch.minimum(score_x, score_y)
    places = torch.stack([place_x, place_y], dim=-1).to(x.dtype)
    places = torch.where((scores > 0)[..., None], places, -torch.ones_like(places))
    return places / split_ratio, scores


@torch.no_grad()
def to_onnx(network: ExportedNetwork, spec: PoseSpec, opset: int, dynamo: bool = False) -> bytes:
    """Return the content of the ONNX file.

    Args:
        network: The network, in evaluation mode afterwards.
        spec: What the file says about itself.
        opset: Version of ONNX's operators.
        dynamo: Export with PyTorch's newer exporter.

    Raises:
        ValueError: If this PyTorch cannot export to these operators, or has not that exporter.
    """
    width, height = spec.input_size
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
            raise ValueError(
                f"PyTorch {torch.__version__} cannot export this model with opset {opset}: {error}"
            ) from error
    onnx.helper.set_model_props(graph, {METADATA_KEY: spec.to_json()})
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
    return dict(
        dynamic_shapes=({0: torch.export.Dim("persons")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


@torch.no_grad()
def compare(
    candidate: Path,
    out: Path,
    model: nn.Module,
    reference: ExportedNetwork,
    persons: Sequence[tuple],
) -> ExportReport:
    """Compare an exported file with PyTorch.

    Args:
        candidate: The file.
        out: What it will be called.
        model: The model as it was trained.
        reference: The same as a network with the file's outputs.
        persons: Images, each with boxes (N, 4).
    """
    pose = OnnxPose(candidate, max_batch=CHECKED_AT_ONCE)
    model.test_cfg = dict(model.test_cfg or {}, flip_test=pose.flip_test)
    session = onnxruntime.InferenceSession(str(candidate), providers=["CPUExecutionProvider"])
    names = reference.output_names
    keypoints, outputs = [], {name: [] for name in names}
    for image, boxes in persons:
        samples = inference_topdown(model, read_image(image), boxes)
        expected = np.concatenate([sample.pred_instances.keypoints for sample in samples])
        keypoints.append(np.abs(pose(image, boxes).keypoints - expected))

        crops, _, _ = crop_persons(read_image(image), boxes, reference.spec)
        given = session.run(names, {"crops": crops})
        for name, ours, theirs in zip(names, given, reference(torch.from_numpy(crops))):
            theirs = theirs.numpy()
            outputs[name].append((np.abs(ours - theirs).max(), np.abs(theirs).max()))
    keypoints = np.concatenate(keypoints)
    return ExportReport(
        path=out,
        differences={n: tuple(map(float, np.max(pairs, axis=0))) for n, pairs in outputs.items()},
        keypoint_difference=float(keypoints.max()),
        median_difference=float(np.median(keypoints)),
        num_persons=len(keypoints),
    )


def check_differences(report: ExportReport, tolerance: float) -> None:
    """Raise a RuntimeError if outputs differ by more than a fraction of their largest value."""
    for name, (largest, value) in report.differences.items():
        if not largest <= tolerance * value:
            raise RuntimeError(
                f"{name} of the exported file differ from PyTorch's by {largest:.3g} where they "
                f"reach {value:.3g}, which is more than {tolerance:.3g} of it: nothing is written"
            )


def check_keypoints(report: ExportReport, tolerance: float) -> None:
    """Raise a RuntimeError if a keypoint differs by more pixels."""
    if not report.keypoint_difference <= tolerance:
        raise RuntimeError(
            "keypoints of the exported file differ from MMPose's by "
            f"{report.keypoint_difference:.3g} px, more than {tolerance:.3g}: nothing is written. "
            "Where a heatmap has two maxima that are equal but for rounding, this can happen to a "
            "faithful file: compare on pictures of persons like those that the model was trained on"
        )


def check_median(report: ExportReport, tolerance: float) -> None:
    """Raise a RuntimeError if the median keypoint differs by more pixels."""
    if not report.median_difference <= tolerance:
        raise RuntimeError(
            f"half of the keypoints of the quantised file differ from MMPose's by "
            f"{report.median_difference:.3g} px or more, allowed are {tolerance:.3g}: nothing is "
            "written. Calibrate --int8 on more persons, or export without --int8 and --half"
        )


def toy_persons() -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw images of toy people, each with boxes (2, 4)."""
    images = [toy_sample(0, index)[0] for index in range(4)]
    return [(image, _whole_and_middle(image)) for image in images]


def _whole_and_middle(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    whole = np.array([0, 0, width, height], np.float32)
    return np.stack([whole, whole / 2 + whole[[2, 3, 2, 3]] / 4])


def training_persons(cfg: Config, count: int) -> list[tuple[str, np.ndarray]]:
    """Pick persons of a config's training data at random, the same ones every time.

    Args:
        cfg: The config.
        count: How many.

    Returns:
        Paths of the images, each with a box (1, 4).

    Raises:
        FileNotFoundError: If the data are not there.
        ValueError: If there are fewer persons.
    """
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    if len(dataset) < count:
        raise ValueError(
            f"int8 needs {count} persons to calibrate and compare on, the training data have "
            f"{len(dataset)}"
        )
    numbers = np.random.default_rng(0).choice(len(dataset), count, replace=False)
    infos = [dataset.get_data_info(int(number)) for number in numbers]
    return [(info["img_path"], info["bbox"].reshape(1, 4)) for info in infos]


def _batches(spec: PoseSpec, persons: Sequence[tuple]) -> Iterator[np.ndarray]:
    for image, boxes in persons:
        crops, _, _ = crop_persons(read_image(image), boxes, spec)
        yield np.concatenate([crops, crops[:, :, ::-1]]) if spec.flip_test else crops


def _listed(outputs: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)

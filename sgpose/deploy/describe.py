# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What an exported file says about its model, or why the model cannot be exported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmpose.codecs import (
    MSRAHeatmap,
    RegressionLabel,
    SimCCLabel,
    UDPHeatmap,
)
from mmpose.datasets.transforms import (
    GetBBoxCenterScale,
    LoadImage,
    PackPoseInputs,
    TopdownAffine,
)
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import TRANSFORMS
from torch import Tensor, nn

from .pose_spec import DECODED, PoseSpec
from .skeleton import side_colors

PIPELINE = [LoadImage, GetBBoxCenterScale, TopdownAffine, PackPoseInputs]


def describe(
    model: TopdownPoseEstimator,
    *,
    flip_test: bool = True,
    float_input: bool = False,
    heatmaps: bool = False,
    guide_maps: bool = False,
) -> PoseSpec:
    """Collect what the runtime must know of a model that ``init_model`` built.

    Args:
        model: The model, with ``cfg`` and ``dataset_meta``.
        flip_test: Whether the graph may average with the mirrored crop, where the model's test
            settings say so.
        float_input: Whether the graph takes float32 in the order NCHW.
        heatmaps: Whether what is decoded is an output, too.
        guide_maps: Whether the guides' maps are an output, too.

    Raises:
        ValueError: If the model does something that the exported file does not.
    """
    test_cfg = model.test_cfg or {}
    if "output_keypoint_indices" in test_cfg:
        raise ValueError("test_cfg.output_keypoint_indices cannot be exported: leave it out")
    flip_mode = test_cfg.get("flip_mode", "heatmap")
    if flip_mode != "heatmap":
        raise ValueError(f"flip_mode {flip_mode!r} cannot be exported, only 'heatmap'")
    if model.data_preprocessor.pad_size_divisor != 1:
        raise ValueError("a data_preprocessor with pad_size_divisor cannot be exported")
    codec = describe_codec(getattr(model.head, "decoder", None))
    if heatmaps and codec["type"] == "RegressionLabel":
        raise ValueError(f"{type(model.head).__name__} regresses coordinates: it has no heatmaps")
    dataset = model.cfg.test_dataloader.dataset
    if "pipeline" not in dataset:
        raise ValueError(
            f"the test data set, a {dataset.type}, has no pipeline, by which MMPose and the "
            "exported file crop persons: export with the data set that it wraps as "
            "test_dataloader.dataset"
        )
    scale, affine = read_pipeline(dataset.pipeline)
    decoder = model.head.decoder
    if tuple(affine.input_size) != tuple(decoder.input_size):
        raise ValueError(
            f"the test pipeline makes crops of {tuple(affine.input_size)}, the codec expects "
            f"{tuple(decoder.input_size)}: set both to the same width and height"
        )
    meta = model.dataset_meta
    names = tuple(meta["keypoint_id2name"][i] for i in range(meta["num_keypoints"]))
    skeleton = tuple((int(a), int(b)) for a, b in meta["skeleton_links"])
    keypoint_colors, skeleton_colors = side_colors(names, skeleton)
    return PoseSpec(
        network=type(model.backbone).__name__,
        dataset=str(meta["dataset_name"]),
        input_size=tuple(affine.input_size),
        input_layout="NCHW" if float_input else "NHWC",
        padding=float(scale.padding),
        use_udp=bool(affine.use_udp),
        codec=codec,
        outputs=(
            *("keypoints", "scores"),
            *(DECODED.get(codec["type"], ("heatmaps",)) if heatmaps else ()),
            *(("guide_maps",) if guide_maps else ()),
        ),
        flip_test=flip_test and bool(test_cfg.get("flip_test", False)),
        flip_indices=tuple(int(i) for i in meta["flip_indices"]),
        keypoint_names=names,
        keypoint_colors=tuple(keypoint_colors),
        skeleton=skeleton,
        skeleton_colors=tuple(skeleton_colors),
    )


def describe_codec(decoder) -> dict:
    """Return the codec as :class:`PoseSpec` holds it.

    Raises:
        ValueError: If it cannot be exported.
    """
    decode = getattr(type(decoder), "decode", None)
    if decode is MSRAHeatmap.decode:
        return dict(
            type="MSRAHeatmap",
            unbiased=bool(decoder.unbiased),
            blur_kernel_size=int(decoder.blur_kernel_size),
            heatmap_size=tuple(decoder.heatmap_size),
        )
    if decode is UDPHeatmap.decode and decoder.heatmap_type == "gaussian":
        return dict(
            type="UDPHeatmap",
            blur_kernel_size=int(decoder.blur_kernel_size),
            heatmap_size=tuple(decoder.heatmap_size),
        )
    if decode is SimCCLabel.decode and not decoder.use_dark:
        return dict(type="SimCCLabel", split_ratio=float(decoder.simcc_split_ratio))
    if decode is RegressionLabel.decode:
        return dict(type="RegressionLabel")
    options = {
        name: getattr(decoder, name)
        for name in ("heatmap_type", "use_dark")
        if hasattr(decoder, name)
    }
    raise ValueError(
        f"the codec {type(decoder).__name__} {options or ''} cannot be exported: the graph decodes "
        "MSRAHeatmap, UDPHeatmap with heatmap_type='gaussian', SimCCLabel with use_dark=False, "
        "and RegressionLabel"
    )


def read_pipeline(pipeline: Sequence[dict]) -> tuple[GetBBoxCenterScale, TopdownAffine]:
    """Build the transforms that make crops.

    Raises:
        ValueError: If there are other transforms than the runtime's.
    """
    transforms = [TRANSFORMS.build(cfg) for cfg in pipeline]
    if len(transforms) != len(PIPELINE) or not all(map(isinstance, transforms, PIPELINE)):
        raise ValueError(
            f"the test pipeline is {[type(transform).__name__ for transform in transforms]}, the "
            f"runtime does what {[kind.__name__ for kind in PIPELINE]} do, and no more"
        )
    load, scale, affine = transforms[:3]
    if load.to_float32 or load.color_type != "color" or load.imdecode_backend != "cv2":
        raise ValueError("LoadImage is not as by default: the runtime reads 8-bit colour by OpenCV")
    return scale, affine


def check_decoded(decoded: Sequence[Tensor], head: nn.Module, spec: PoseSpec) -> None:
    """Raise a ValueError unless what the head decodes is of the shape that the codec expects.

    Args:
        decoded: For one crop what the decoder is given.
        head: The head.
        spec: What the file will say about itself.
    """
    count, (width, height) = len(spec.keypoint_names), spec.input_size
    found = [tuple(o.shape) if isinstance(o, Tensor) else type(o).__name__ for o in decoded]
    kind = spec.codec["type"]
    needed: list[list[tuple[int, ...]]]
    if kind == "SimCCLabel":
        ratio = spec.codec["split_ratio"]
        needed = [[(1, count, int(width * ratio)), (1, count, int(height * ratio))]]
    elif kind == "RegressionLabel":
        needed = [[(1, 1, count, 2)], [(1, 1, count, 4)]]
    else:
        needed = [[(1, count, *spec.codec["heatmap_size"][::-1])]]
    if found not in needed:
        raise ValueError(
            f"{type(head).__name__} returns {found} for one crop, {kind} with the {count} "
            f"keypoints of {spec.dataset} decodes {' or '.join(map(str, needed))}"
        )


def has_guide_maps(model: nn.Module, spec: PoseSpec) -> bool:
    """Whether the features of a model carry the guides' maps to its head."""
    width, height = spec.input_size
    with torch.no_grad():
        feats = model.extract_feat(torch.zeros(1, 3, height, width))
    return bool(getattr(feats, "segmentation_logits", ()))

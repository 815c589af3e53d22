# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Whether an exported file finds what PyTorch and MMPose find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from mmengine.config import Config
from mmpose.apis import inference_topdown
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import DATASETS

from .crops import crop_persons, read_image
from .network import ExportedNetwork
from .onnx_pose import OnnxPose
from .pose_spec import PoseSpec

CHECKED_AT_ONCE = 3  # another number of persons than was traced
NUM_COMPARED = 8  # persons of the config's test data
NUM_NUDGES = 8
ROUNDING = 1e-6  # of the largest value: float32's


@dataclass(frozen=True)
class ExportReport:
    """How near an exported file comes to PyTorch.

    Keypoints are compared where they are well determined: where MMPose's own decoder moves a
    keypoint because what it decodes changes by no more than rounding (two equal maxima, a flat
    one), two faithful networks disagree.

    Args:
        path: The file.
        differences: For each output of the network before decoding, and for the guides' maps, the
            largest difference to the unfolded model, and the largest value.
        decoder_difference: Largest difference to MMPose's decoder on the same heatmaps, in pixels
            of the crop.
        keypoint_difference: Largest difference of :class:`OnnxPose` to MMPose's
            ``inference_topdown`` in x or y, in pixels of the crop.
        median_difference: The median one, of all keypoints.
        num_persons: Number of boxes that were compared.
        num_keypoints: Number of their keypoints that are well determined.
        num_skipped: Number of the others.
    """

    path: Path
    differences: dict[str, tuple[float, float]]
    decoder_difference: float
    keypoint_difference: float
    median_difference: float
    num_persons: int
    num_keypoints: int
    num_skipped: int


@torch.no_grad()
def compare(
    candidate: Path,
    out: Path,
    model: TopdownPoseEstimator,
    reference: ExportedNetwork,
    persons: Sequence[tuple],
) -> ExportReport:
    """Compare an exported file, which still has all outputs, with PyTorch.

    Args:
        candidate: The file.
        out: What it will be called.
        model: The model as it was trained.
        reference: The same as a network with the file's outputs.
        persons: Images, each with boxes (N, 4).
    """
    spec, codec = reference.spec, model.head.decoder
    pose = OnnxPose(candidate, max_batch=CHECKED_AT_ONCE)
    model.test_cfg = dict(model.test_cfg or {}, flip_test=spec.flip_test, output_heatmaps=False)
    session = onnxruntime.InferenceSession(str(candidate), providers=["CPUExecutionProvider"])
    names, raw = reference.output_names, spec.decoded
    pairs: dict[str, list] = {name: [] for name in names[2:]}
    decoders, keypoints, determined = [], [], []
    for picture, boxes in persons:
        image = read_image(picture)
        crops, _, _, sizes = crop_persons(image, boxes, spec)
        if spec.input_layout == "NCHW":
            crops = crops.transpose(0, 3, 1, 2).astype(np.float32)
        found = dict(zip(names, session.run(names, {"crops": crops})))
        expected = dict(zip(names, (o.numpy() for o in reference(torch.from_numpy(crops)))))
        for name in pairs:
            change = np.abs(found[name] - expected[name]).max()
            pairs[name].append((change, np.abs(expected[name]).max()))
        outputs = [found[name] for name in raw]
        slack = [max(pairs[name][-1][0], ROUNDING * pairs[name][-1][1]) for name in raw]
        places, scores = decode(codec, outputs)
        # below zero there is no place: UDP's decoder reads beside the heatmap then
        determined.append(well_determined(codec, outputs, slack, places) & (scores > 0))
        decoders.append(np.abs(found["keypoints"] - places))
        samples = inference_topdown(model, image, boxes)
        truth = np.concatenate([sample.pred_instances.keypoints for sample in samples])
        to_crop = np.array(spec.input_size) / sizes[:, None]
        keypoints.append(np.abs(pose(image, boxes).keypoints - truth) * to_crop)
    sure = np.concatenate(determined)
    distances = np.concatenate(keypoints)
    return ExportReport(
        path=out,
        differences={
            name: (float(max(change for change, _ in found)), float(max(top for _, top in found)))
            for name, found in pairs.items()
        },
        decoder_difference=_largest(np.concatenate(decoders)[sure]),
        keypoint_difference=_largest(distances[sure]),
        median_difference=float(np.median(distances)),
        num_persons=len(distances),
        num_keypoints=int(sure.sum()),
        num_skipped=int((~sure).sum()),
    )


def decode(codec, outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Decode with MMPose's codec, one person after another.

    Args:
        codec: The codec.
        outputs: What it decodes, each with B persons in front.

    Returns:
        Keypoints (B, K, 2) in pixels of the crop, and scores (B, K).
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # maps without any value above zero
        found = [codec.decode(*(output[i] for output in outputs)) for i in range(len(outputs[0]))]
    keypoints, scores = map(np.concatenate, zip(*found))
    return keypoints, scores


def well_determined(
    codec, outputs: Sequence[np.ndarray], slack: Sequence[float], places: np.ndarray
) -> np.ndarray:
    """Find the keypoints that stay where they are when what is decoded changes a little.

    Args:
        codec: MMPose's codec.
        outputs: What it decodes, each with B persons in front.
        slack: For each of them by how much any value may change.
        places: (B, K, 2), as `decode` returns them for the outputs.

    Returns:
        (B, K), false where the codec moves a keypoint by more than 0.01 pixel of the crop.
    """
    rng = np.random.default_rng(0)
    sure = np.ones(places.shape[:2], bool)
    for _ in range(NUM_NUDGES):
        signs = [rng.choice(np.array([-1, 1], np.float32), output.shape) for output in outputs]
        nudged = [
            o + np.multiply(s, sign, dtype=np.float32) for o, s, sign in zip(outputs, slack, signs)
        ]
        try:
            moved = np.abs(decode(codec, nudged)[0] - places).max(axis=-1)
        except np.linalg.LinAlgError:  # UDP's step at a maximum without curvature
            return np.zeros_like(sure)
        sure &= moved <= 0.01
    return sure


def check_report(
    report: ExportReport, tolerance: float, keypoint_tolerance: float | None, rounded: bool
) -> None:
    """Raise a RuntimeError if a file differs by more than is allowed.

    Args:
        report: What was found.
        tolerance: For outputs, as a fraction of their largest value.
        keypoint_tolerance: For keypoints in pixels of the crop; None for the default.
        rounded: Whether the file computes with rounded weights, whose median keypoint counts.
    """
    limit = 0.05 if keypoint_tolerance is None else keypoint_tolerance
    if not report.decoder_difference <= max(limit, 0.05):
        raise RuntimeError(
            f"the graph decodes keypoints that differ by {report.decoder_difference:.3g} px from "
            "those of MMPose's decoder for the same heatmaps: nothing is written"
        )
    if rounded:
        limit = 2.0 if keypoint_tolerance is None else keypoint_tolerance
        if not report.median_difference <= limit:
            raise RuntimeError(
                f"half of the keypoints of the file differ from MMPose's by "
                f"{report.median_difference:.3g} px or more, allowed are {limit:.3g}: nothing is "
                "written. Calibrate --int8 on more persons, or export without --int8, --half and "
                "--fp16"
            )
        return
    for name, (largest, value) in report.differences.items():
        if not largest <= tolerance * value:
            raise RuntimeError(
                f"{name} of the exported file differ from PyTorch's by {largest:.3g} where they "
                f"reach {value:.3g}, which is more than {tolerance:.3g} of it: nothing is written"
            )
    if not report.keypoint_difference <= limit:
        raise RuntimeError(
            f"keypoints of the exported file differ from MMPose's by "
            f"{report.keypoint_difference:.3g} px of the crop, more than {limit:.3g}: nothing is "
            "written"
        )


def persons_in_pictures(images: Sequence[str | Path]) -> list[tuple]:
    """Return pictures, each with two boxes: the whole and its middle."""
    return [(image, whole_and_middle(read_image(image))) for image in images]


def whole_and_middle(image: np.ndarray) -> np.ndarray:
    """Return a box around an image and one around its middle, (2, 4)."""
    height, width = image.shape[:2]
    whole = np.array([0, 0, width, height], np.float32)
    return np.stack([whole, whole / 2 + whole[[2, 3, 2, 3]] / 4])


def persons_to_compare(cfg: Config) -> list[tuple]:
    """Return persons of a config's test data, or smooth noise where the data are not there."""
    try:
        return _persons(cfg.test_dataloader.dataset, NUM_COMPARED)
    except FileNotFoundError:
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 256, (12, 9, 3), dtype=np.uint8) for _ in range(NUM_COMPARED // 2)]
        images = [cv2.resize(image, (144, 192), interpolation=cv2.INTER_CUBIC) for image in noise]
        return [(image, whole_and_middle(image)) for image in images]


def training_crops(cfg: Config, count: int, spec: PoseSpec) -> list[np.ndarray]:
    """Crop persons of a config's training data, picked at random, the same ones every time.

    Args:
        cfg: The config.
        count: How many.
        spec: What the network needs.

    Returns:
        For each person what the graph takes, (1, ...).

    Raises:
        ValueError: If the data are not there, or hold fewer persons.
    """
    try:
        persons = _persons(cfg.train_dataloader.dataset, count)
    except FileNotFoundError as error:
        raise ValueError(
            "int8 calibrates on persons of the config's training data, which are not there: "
            f"{error}"
        ) from error
    if len(persons) < count:
        raise ValueError(
            f"int8 needs {count} persons to calibrate on, the training data have {len(persons)}"
        )
    crops = [crop_persons(read_image(image), box, spec)[0] for image, box in persons]
    if spec.input_layout == "NCHW":
        return [crop.transpose(0, 3, 1, 2).astype(np.float32) for crop in crops]
    return crops


def _persons(cfg: dict, count: int) -> list[tuple[str, np.ndarray]]:
    """Pick so many persons of a data set, or all: paths of images, each with a box (1, 4)."""
    try:
        dataset = DATASETS.build(cfg)
    except AssertionError as error:  # MMPose's, of an annotation file that is not there
        raise FileNotFoundError(str(error)) from error
    numbers = np.random.default_rng(0).permutation(len(dataset))[:count]
    infos = [dataset.get_data_info(int(number)) for number in numbers]
    persons = [(info["img_path"], np.reshape(info["bbox"], (1, 4))) for info in infos]
    if absent := [path for path, _ in persons if not Path(path).is_file()]:
        raise FileNotFoundError(f"{absent[0]} is not there")
    return persons


def _largest(distances: np.ndarray) -> float:
    return float(distances.max(initial=0.0))

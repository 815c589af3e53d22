# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What a config's data pipeline and codec make of its dataset. Images are RGB uint8 (H, W, 3)."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmpose.datasets.transforms import GenerateTarget
from mmpose.registry import DATASETS
from PIL import Image, ImageDraw

from ..visualization.attention import map_in_crop, paint_map, paint_mask
from ..visualization.sg_local_visualizer import SGLocalVisualizer
from ..visualization.sheet import font

LEFT, RIGHT, MIDDLE = (0, 190, 255), (255, 96, 32), (255, 255, 255)
HEIGHT = 256


def target_dataset(cfg: Config, split: str):
    """Build a config's dataset so that it gives targets and transformed keypoints.

    Where the split's own pipeline makes no targets (validation), they are made with the codec of
    the training pipeline; where it takes a detector's boxes, it takes the annotated ones instead.

    Args:
        cfg: Any top-down config. It is left as it is.
        split: "train" or "val".

    Returns:
        The dataset.

    Raises:
        ValueError: If neither pipeline has a ``GenerateTarget``, or the dataset has no pipeline.
    """
    init_default_scope(cfg.get("default_scope", "mmpose"))
    dataset = copy.deepcopy(cfg[f"{split}_dataloader"].dataset)
    for config in (dataset, cfg.train_dataloader.dataset):
        if "pipeline" not in config:
            raise ValueError(
                f"the dataset {config.type} has no pipeline of its own: name the one inside, for "
                f"instance with --cfg-options, as {split}_dataloader.dataset"
            )
    pipeline = list(dataset.pipeline)
    if not any(t.type == "GenerateTarget" for t in pipeline):
        generators = [
            t for t in cfg.train_dataloader.dataset.pipeline if t.type == "GenerateTarget"
        ]
        if not generators:
            raise ValueError("the config's training pipeline has no GenerateTarget to look at")
        pipeline[-1:-1] = generators
    pipeline[-1] = dict(pipeline[-1], pack_transformed=True)
    dataset.pipeline = pipeline
    if dataset.get("bbox_file"):
        dataset.bbox_file = None
    return DATASETS.build(dataset)


def target_items(dataset, num: int, seed: int) -> Iterator[tuple[int, dict]]:
    """Yield the number in the dataset and the item of ``num`` samples drawn at random.

    The same seed gives the same samples with the same augmentation.
    """
    set_random_seed(seed)
    count = min(num, len(dataset))
    chosen = np.random.default_rng(seed).choice(len(dataset), count, replace=False)
    for index in sorted(chosen.tolist()):
        yield index, dataset[index]


def encoder_of(dataset):
    """The built codec of a dataset's pipeline; the first one where there are several."""
    generate = next(t for t in dataset.pipeline.transforms if isinstance(t, GenerateTarget))
    return generate.encoder[0] if isinstance(generate.encoder, list) else generate.encoder


def target_maps(sample, encoder) -> dict[str, np.ndarray]:
    """The targets of one sample that can be looked at.

    Args:
        sample: Data sample with the encoder's targets.
        encoder: The built codec.

    Returns:
        "heatmaps": (h, w), at each cell the largest of the keypoints' heatmaps relative to the
        largest value of all; for SimCC of the products of the keypoints' x and y labels. "mask":
        (H, W), the segmentation target. What the codec does not make is missing.
    """
    maps = {}
    fields = sample.gt_fields if "gt_fields" in sample else {}
    labels = sample.gt_instance_labels if "gt_instance_labels" in sample else {}
    codec = getattr(encoder, "codec", encoder)
    if "heatmaps" in fields:
        heatmaps = _first(fields.heatmaps)
        if getattr(codec, "heatmap_type", None) == "combined":  # UDP: map, x and y offset in turn
            heatmaps = heatmaps[::3]
        maps["heatmaps"] = _relative(heatmaps.max(axis=0))
    elif "keypoint_x_labels" in labels:
        x = _first(labels.keypoint_x_labels).reshape(-1, labels.keypoint_x_labels.shape[-1])
        y = _first(labels.keypoint_y_labels).reshape(-1, labels.keypoint_y_labels.shape[-1])
        product = np.zeros((y.shape[1], x.shape[1]), np.float32)
        for column, row in zip(x, y):
            np.maximum(product, np.outer(row, column), out=product)
        maps["heatmaps"] = _relative(product)
    if "segmentation" in fields:
        maps["mask"] = _first(fields.segmentation).max(axis=0)
    return maps


def target_panels(item: dict, encoder, metainfo: dict) -> dict[str, np.ndarray]:
    """Draw the model's input with its keypoints, and each target over it.

    Args:
        item: "inputs" (3, H, W) BGR uint8 and "data_samples" with ``transformed_keypoints``.
        encoder: The built codec that made the targets.
        metainfo: The dataset's.

    Returns:
        Title -> picture, all of one size, about ``HEIGHT`` pixels high: "keypoints", and of
        "heatmaps" and "mask" what there is.
    """
    image = item["inputs"].permute(1, 2, 0).numpy()[..., ::-1]
    sample = item["data_samples"]
    zoom = max(1, round(HEIGHT / image.shape[0]))
    size = (zoom * image.shape[1], zoom * image.shape[0])
    image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    instances = sample.gt_instances
    visible = np.asarray(instances.keypoints_visible)
    visible = visible[..., 0] if visible.ndim == 3 else visible
    keypoints = np.asarray(instances.transformed_keypoints)[..., :2]
    panels = {"keypoints": draw_sides(image, zoom * keypoints, visible, metainfo)}
    for name, values in target_maps(sample, encoder).items():
        step = zoom * _input_pixels_per_cell(values.shape, item["inputs"].shape[1:], encoder)
        if name == "mask":
            panels[name] = paint_mask(image, map_in_crop(values, size, step, cv2.INTER_NEAREST))
        else:
            panels[name] = paint_map(image, map_in_crop(values, size, step, cv2.INTER_LINEAR))
    return panels


def draw_sides(
    image: np.ndarray, keypoints: np.ndarray, visible: np.ndarray, metainfo: dict
) -> np.ndarray:
    """Draw skeletons with the person's left joints blue, marked L, and its right orange, marked R.

    Args:
        image: (H, W, 3).
        keypoints: (N, K, 2) in pixels of the image.
        visible: (N, K).
        metainfo: The dataset's; sides are read from the keypoints' names.

    Returns:
        (H, W, 3).
    """
    names = [metainfo["keypoint_id2name"][k] for k in range(keypoints.shape[1])]
    colours = [_side_colour(name) for name in names]
    painter = SGLocalVisualizer(name="target_sheet", line_width=2, radius=4)
    painter.skeleton = metainfo.get("skeleton_links")
    painter.kpt_color = colours
    painter.link_color = [
        colours[a] if colours[a] == colours[b] else (190, 190, 190)
        for a, b in painter.skeleton or []
    ]
    drawn = painter.draw_pose(image, keypoints, visible)
    return _letters(drawn, keypoints[visible > 0], np.tile(colours, (len(visible), 1)), visible)


def _letters(
    image: np.ndarray, points: np.ndarray, colours: np.ndarray, visible: np.ndarray
) -> np.ndarray:
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    size = max(12, image.shape[0] // 18)
    taken: list[np.ndarray] = []
    for point, colour in zip(points, colours[visible.reshape(-1) > 0]):
        letter = {LEFT: "L", RIGHT: "R"}.get(tuple(colour.tolist()))
        if letter is None or any(np.abs(point - other).max() < size for other in taken):
            continue
        taken.append(point)
        place = tuple(point + (0.35 * size, -0.1 * size))
        style = dict(font=font(size, True), fill=tuple(colour.tolist()))
        draw.text(place, letter, anchor="lb", stroke_width=2, stroke_fill=(0, 0, 0), **style)
    return np.asarray(canvas)


def _side_colour(name: str) -> tuple[int, int, int]:
    words = name.lower().replace("-", "_").split("_")
    return LEFT if "left" in words else RIGHT if "right" in words else MIDDLE


def _first(values) -> np.ndarray:
    return np.asarray(values[0] if isinstance(values, list) else values)


def _relative(values: np.ndarray) -> np.ndarray:
    return values / max(float(values.max()), np.finfo(np.float32).tiny)


def _input_pixels_per_cell(shape, input_shape, encoder) -> np.ndarray:
    """(2,) in x and y, by the codec's own scale where the map has its heatmaps' size."""
    for codec in (encoder, getattr(encoder, "codec", encoder)):
        if tuple(getattr(codec, "heatmap_size", None) or ()) == tuple(shape[::-1]):
            return np.asarray(codec.scale_factor, float)
    return np.divide(input_shape[::-1], shape[::-1])

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What a config's data pipeline and codec make of its dataset. Images are RGB uint8 (H, W, 3)."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmpose.datasets.transforms import GenerateTarget
from mmpose.registry import DATASETS
from PIL import Image, ImageDraw
from tqdm import tqdm

from ..visualization.attention import map_in_crop, paint_map, paint_mask
from ..visualization.sg_local_visualizer import SGLocalVisualizer
from ..visualization.sheet import Cell, contact_sheet, font
from .data_sets import make_targets, pipelines_that, target_generator, use_annotated_boxes

LEFT, RIGHT, MIDDLE = (0, 190, 255), (255, 96, 32), (255, 255, 255)
COLOURS = {"L": LEFT, "R": RIGHT, "": MIDDLE, "1": (120, 230, 120), "2": (230, 120, 230)}
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
        ValueError: If neither pipeline has a ``GenerateTarget``, or none packs its samples.
    """
    init_default_scope(cfg.get("default_scope", "mmpose"))
    dataset = copy.deepcopy(cfg[f"{split}_dataloader"].dataset)
    make_targets(dataset, target_generator(cfg.train_dataloader.dataset))
    for pipeline in pipelines_that(dataset, "PackPoseInputs"):
        pipeline[-1] = dict(pipeline[-1], pack_transformed=True)
    use_annotated_boxes(dataset)
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
    for part in _built_parts(dataset):
        for transform in part.pipeline.transforms:
            if isinstance(transform, GenerateTarget):
                codecs = transform.encoder
                return codecs[0] if isinstance(codecs, list) else codecs
    raise ValueError(f"{type(dataset).__name__} has no GenerateTarget in its pipelines")


def other_sizes(dataset, items: Sequence[dict]) -> list[str]:
    """Say of which images the size is not what the annotations say.

    Boxes and keypoints then lie elsewhere than they were drawn: as a rule the image was turned by
    its EXIF tag on reading, and not where it was annotated.

    Args:
        dataset: The built dataset; of those not in COCO's style nothing is known.
        items: Some of its items.
    """
    sizes = {}
    for part in _built_parts(dataset):
        content = load(part.ann_file) if str(part.ann_file).endswith(".json") else None
        for image in content.get("images", []) if isinstance(content, dict) else []:
            if "width" in image and "height" in image:
                path = os.path.join(part.data_prefix.get("img") or "", image["file_name"])
                sizes[path] = (image["width"], image["height"])
    found = []
    for item in items:
        sample = item["data_samples"].metainfo
        height, width = sample["ori_shape"]
        stated = sizes.get(sample["img_path"], (width, height))
        if stated != (width, height):
            found.append(
                f"{sample['img_path']} is read as {width}x{height}, the annotations say "
                f"{stated[0]}x{stated[1]}: were they made before its EXIF tag turned it?"
            )
    return sorted(set(found))


def _built_parts(dataset) -> Iterator:
    """Yield the datasets that have a pipeline: a dataset, and those that it wraps."""
    if hasattr(dataset, "pipeline"):
        yield dataset
    inner = [dataset.dataset] if hasattr(dataset, "dataset") else getattr(dataset, "datasets", [])
    for part in inner:
        yield from _built_parts(part)


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
    fields: Any = sample.gt_fields if "gt_fields" in sample else {}
    labels: Any = sample.gt_instance_labels if "gt_instance_labels" in sample else {}
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
        item: "inputs" (3, H, W) BGR or (1, H, W) grey, and "data_samples" with
            ``transformed_keypoints``.
        encoder: The built codec that made the targets.
        metainfo: The dataset's.

    Returns:
        Title -> picture, all of one size, about ``HEIGHT`` pixels high: "keypoints", and of
        "heatmaps" and "mask" what there is.
    """
    image = as_rgb(item["inputs"].permute(1, 2, 0).numpy())
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


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return an image as 8-bit RGB.

    Args:
        image: (H, W, 3) BGR or (H, W, 1) grey; uint8, uint16 (its full range) or floats, in
            [0, 255] or, where none is above 1, in [0, 1].

    Returns:
        (H, W, 3) uint8.
    """
    image = np.broadcast_to(image, (*image.shape[:2], 3))[..., ::-1]
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        factor = 255 if image.max() <= 1 else 1
        return (factor * image).clip(0, 255).round().astype(np.uint8)
    return image


def sides_of(metainfo: dict) -> list[str]:
    """Tell the sides of a dataset's keypoints.

    They are read from the keypoints' names, by words such as ``left``, ``R``, ``leftEye`` and
    ``L_Eye``; where a name does not say, from that of the keypoint that a flip swaps it with.

    Args:
        metainfo: The dataset's.

    Returns:
        For each keypoint "L" or "R"; "1" or "2" where no name of a swapped pair says; "" for what
        has no twin.
    """
    names, twins = metainfo["keypoint_id2name"], metainfo["flip_indices"]
    sides = []
    for own, twin in enumerate(twins):
        other = {"L": "R", "R": "L", "": ""}[_side(names[twin])]
        unnamed = "" if own == twin else "1" if own < twin else "2"
        sides.append(_side(names[own]) or other or unnamed)
    return sides


def _side(name: str) -> str:
    words = {w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    return "L" if words & {"left", "l"} else "R" if words & {"right", "r"} else ""


def draw_sides(
    image: np.ndarray, keypoints: np.ndarray, visible: np.ndarray, metainfo: dict
) -> np.ndarray:
    """Draw skeletons with the person's left joints blue, marked L, and its right orange, marked R.

    Pairs whose names do not tell the sides are marked 1 and 2.

    Args:
        image: (H, W, 3).
        keypoints: (N, K, 2) in pixels of the image.
        visible: (N, K).
        metainfo: The dataset's, see :func:`sides_of`.

    Returns:
        (H, W, 3).
    """
    sides = sides_of(metainfo)
    colours = [COLOURS[side] for side in sides]
    painter = SGLocalVisualizer(name="target_sheet", line_width=2, radius=4)
    painter.skeleton = metainfo.get("skeleton_links")
    painter.kpt_color = colours
    painter.link_color = [
        colours[a] if colours[a] == colours[b] else (190, 190, 190)
        for a, b in painter.skeleton or []
    ]
    drawn = painter.draw_pose(image, keypoints, visible)
    return _letters(drawn, keypoints, sides, visible)


def _letters(
    image: np.ndarray, keypoints: np.ndarray, sides: list[str], visible: np.ndarray
) -> np.ndarray:
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    size = max(12, image.shape[0] // 18)
    taken: list[np.ndarray] = []
    for person, keypoint in np.argwhere(visible > 0):
        point, side = keypoints[person, keypoint], sides[keypoint]
        if not side or any(np.abs(point - other).max() < size for other in taken):
            continue
        taken.append(point)
        place = tuple(point + (0.35 * size, -0.1 * size))
        draw.text(
            place,
            side,
            fill=COLOURS[side],
            font=font(size, True),
            anchor="lb",
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )
    return np.asarray(canvas)


def target_sheet(
    cfg: Config, split: str, num: int, seed: int, title: str
) -> tuple[np.ndarray, np.ndarray, list[dict], list[str]]:
    """Draw samples of a config's dataset with their targets.

    Args:
        cfg: Any top-down config.
        split: "train" or "val".
        num: Number of samples, >= 1; all there are if there are fewer.
        seed: Chooses the samples and the augmentation.
        title: The sheet's title.

    Returns:
        The sheet, (H, W, 3) RGB uint8; the places of its R x C pictures, (R, C, 4), x0, y0, x1,
        y1; the items of the dataset; what :func:`other_sizes` says of them. A sample's pictures
        lie side by side, samples from left to right.
    """
    dataset = target_dataset(cfg, split)
    encoder = encoder_of(dataset)
    items, samples = [], []
    for index, item in tqdm(target_items(dataset, num, seed), total=num, disable=None):
        panels = target_panels(item, encoder, dataset.metainfo)
        flip = ", flipped" if item["data_samples"].metainfo.get("flip") else ""
        captions = [f"#{index}{flip}"] + [""] * (len(panels) - 1)
        items.append(item)
        samples.append([Cell(*cell) for cell in zip(panels.values(), captions)])
    across = max(1, 9 // len(panels))
    rows = [sum(samples[i : i + across], []) for i in range(0, len(samples), across)]
    codec = getattr(encoder, "codec", encoder)
    radius = f", mask radius {encoder.radius:g}" if hasattr(encoder, "radius") else ""
    pairs = " 1, 2: pairs whose names do not say." if "1" in sides_of(dataset.metainfo) else ""
    note = (
        f"{type(codec).__name__}{radius}, {split} split, seed {seed}. "
        f"L, blue: the person's left; R, orange: its right.{pairs}"
    )
    sheet, places = contact_sheet(
        rows, title=title, note=note, columns=list(panels) * min(across, len(samples))
    )
    return sheet, places, items, other_sizes(dataset, items)


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

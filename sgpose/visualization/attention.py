# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Where maps in [0, 1] lie in an image, and how they are painted over it. Images are RGB uint8."""

from __future__ import annotations

import cv2
import numpy as np
from mmpose.structures.utils import revert_heatmap


def guide_maps_in_image(
    maps: np.ndarray, centers: np.ndarray, scales: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Warp the guides' maps of N persons from their crops into the image.

    Like heatmaps, where MMPose merges the persons of an image: the cell in column i and row j lies
    at x = cx + (i / w - 1/2) * sx, y = cy + (j / h - 1/2) * sy.

    Args:
        maps: (N, S, h, w) in [0, 1].
        centers: (N, 2) centres (cx, cy) of the crops in pixels of the image.
        scales: (N, 2) sizes (sx, sy) of the crops in pixels of the image.
        shape: Height H and width W of the image.

    Returns:
        (S, H, W), at each pixel the largest value of any person's map, and (H, W), 1 inside the
        crops and 0 outside.
    """
    maps = np.asarray(maps, np.float32)
    inside = np.zeros(shape, np.float32)
    merged = np.zeros((maps.shape[1], *shape), np.float32)
    for person, center, scale in zip(maps, np.asarray(centers), np.asarray(scales)):
        crop = revert_heatmap(np.ones(person.shape[1:], np.float32), center, scale, shape)
        np.maximum(inside, crop, out=inside)
        # one by one: revert_heatmap fails on a stack of a single map
        warped = [revert_heatmap(stage, center, scale, shape) for stage in person]
        np.maximum(merged, warped, out=merged)
    return merged, inside


def map_in_crop(
    values: np.ndarray, size: tuple[int, int], step: np.ndarray, interpolation: int
) -> np.ndarray:
    """Enlarge a map to the crop that it belongs to.

    Args:
        values: (h, w) map, whose cell in column i and row j lies at (i, j) * step of the crop.
        size: Width W and height H of the crop.
        step: (2,) pixels of the crop per cell in x and y.
        interpolation: OpenCV's ``INTER_NEAREST`` or ``INTER_LINEAR``.

    Returns:
        (H, W), float32.
    """
    matrix = np.diag([*np.asarray(step, float), 1.0])[:2]
    return cv2.warpAffine(
        np.asarray(values, np.float32),
        matrix,
        size,
        flags=interpolation,
        borderMode=cv2.BORDER_REPLICATE,
    )


def paint_map(
    image: np.ndarray, values: np.ndarray, inside: np.ndarray | float = 1.0, alpha: float = 0.6
) -> np.ndarray:
    """Paint a map over an image, from black where it is 0 to bright yellow where it is 1.

    Args:
        image: (H, W, 3).
        values: (H, W) in [0, 1].
        inside: (H, W), 0 where the image is left as it is.
        alpha: Opacity of the paint.

    Returns:
        (H, W, 3).
    """
    levels = np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)
    paint = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    weight = alpha * np.broadcast_to(inside, image.shape[:2])[..., None]
    return np.round(image * (1 - weight) + paint * weight).astype(np.uint8)


def paint_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Leave an image bright where a mask is above 0.5 and darken it to a quarter elsewhere.

    Args:
        image: (H, W, 3).
        mask: (H, W).

    Returns:
        (H, W, 3).
    """
    lit = 0.6 * image + 0.4 * 255
    return np.where((mask > 0.5)[..., None], lit, 0.25 * image).round().astype(np.uint8)

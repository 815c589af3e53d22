# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The segmentation target: discs around the keypoints.

Paper, section 3.1, eq. 2: https://doi.org/10.18280/ts.410522
"""

from __future__ import annotations

import math

import numpy as np

from .gaussian_heatmaps import VISIBILITY_CUT


def keypoint_discs(
    keypoints: np.ndarray, visible: np.ndarray, size: tuple[int, int], radius: float
) -> np.ndarray:
    """Draw the union of open discs around the labelled keypoints (paper, eq. 2).

    Args:
        keypoints: (K, 2) coordinates (x, y) in pixels of the map, where the centre of the
            pixel in column i and row j is (i, j). They may lie outside the map.
        visible: (K,) visibilities; a keypoint below 0.5 marks nothing.
        size: Width W and height H of the map.
        radius: Radius of the discs in pixels of the map, > 0.

    Returns:
        (H, W) float32 map: 1 where some labelled keypoint is nearer than ``radius``, else 0.

    Raises:
        ValueError: If a shape does not fit or the radius is not positive.

    Example:
        >>> keypoint_discs([[1, 1]], [1], size=(4, 3), radius=1.2)
        array([[0., 1., 0., 0.],
               [1., 1., 1., 0.],
               [0., 1., 0., 0.]], dtype=float32)
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    visible = np.asarray(visible)
    if keypoints.ndim != 2 or keypoints.shape[1] != 2 or visible.shape != keypoints.shape[:1]:
        raise ValueError(
            "keypoint_discs needs keypoints of shape (K, 2) and visible of shape (K,), "
            f"got {keypoints.shape} and {visible.shape}"
        )
    check_radius(radius)
    keypoints = keypoints[(visible >= VISIBILITY_CUT) & np.isfinite(keypoints).all(axis=1)]
    width, height = size
    # each disc is tested in a window inside the map that holds all of its pixels
    window = np.minimum(size, math.floor(2 * radius) + 2)
    first = np.minimum(np.maximum(np.ceil(keypoints - radius), 0), size - window)
    columns = first[:, :1] + np.arange(window[0])
    rows = first[:, 1:] + np.arange(window[1])
    dx2 = (columns - keypoints[:, :1]) ** 2
    dy2 = (rows - keypoints[:, 1:]) ** 2
    inside = dx2[:, None, :] + dy2[:, :, None] < radius**2
    pixels = rows[:, :, None] * width + columns[:, None, :]
    mask = np.zeros(height * width, dtype=np.float32)
    mask[pixels[inside].astype(np.int64)] = 1
    return mask.reshape(height, width)


def check_radius(radius: float) -> None:
    """Raise a ValueError unless the radius is a positive number."""
    if not (np.isfinite(radius) and radius > 0):
        raise ValueError(
            f"radius must be a positive number of mask pixels, got {radius}; the paper uses 5"
        )

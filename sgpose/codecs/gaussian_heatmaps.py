# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Heatmaps of one person, equal to those of MMPose's ``codecs.utils.gaussian_heatmap``.

MMPose evaluates one keypoint after the other; here the arithmetic is done for all of them at once.
The arithmetic itself, and with it every bit of the result, is the same.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

#: MMPose's codecs draw nothing for a keypoint whose visibility is below this.
VISIBILITY_CUT = 0.5


def gaussian_heatmaps(
    keypoints: np.ndarray, visible: np.ndarray, size: tuple[int, int], sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw Gaussians centred on the pixels nearest to the keypoints and cut off at 3 sigma.

    Equals MMPose's ``generate_gaussian_heatmaps`` bit for bit.

    Args:
        keypoints: (K, 2) coordinates (x, y) in pixels of the map. They may lie outside the map.
        visible: (K,) visibilities; a keypoint below 0.5 is not drawn.
        size: Width W and height H of the map.
        sigma: Standard deviation of the Gaussians in pixels of the map.

    Returns:
        (K, H, W) float32 heatmaps in [0, 1], and ``visible`` with zeros for the keypoints whose
        Gaussian lies outside the map.
    """
    width, height = size
    radius = sigma * 3
    centre = (keypoints + 0.5).astype(np.int64)
    first = (centre - radius).astype(np.int64)
    last = (centre + radius + 1).astype(np.int64)
    drawn, weights = _select(first, last, visible, size)

    heatmaps = np.zeros((len(keypoints), height, width), dtype=np.float32)
    patch = _patch(sigma)
    origins = first.tolist()
    starts, ends = np.maximum(first, 0).tolist(), np.minimum(last, size).tolist()
    for k in drawn.nonzero()[0].tolist():
        (left, top), (x1, y1), (x2, y2) = origins[k], starts[k], ends[k]
        heatmaps[k, y1:y2, x1:x2] = patch[y1 - top : y2 - top, x1 - left : x2 - left]
    return heatmaps, weights


def unbiased_gaussian_heatmaps(
    keypoints: np.ndarray, visible: np.ndarray, size: tuple[int, int], sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw Gaussians centred on the keypoints themselves and cut off nowhere.

    Equals MMPose's ``generate_unbiased_gaussian_heatmaps`` bit for bit (encoding of DarkPose,
    https://arxiv.org/abs/1910.06278). Arguments and returns as of :func:`gaussian_heatmaps`; a
    keypoint that is not a number gives a map without numbers, as in MMPose.
    """
    width, height = size
    radius = sigma * 3
    drawn, weights = _select(keypoints - radius, keypoints + radius + 1, visible, size)

    # the type in which NumPy subtracts one coordinate from a float32 row; NumPy 1 and 2 differ
    dtype = np.result_type(np.zeros(1, np.float32), keypoints.dtype.type(0))
    centre = keypoints[drawn].astype(dtype)
    dx2 = (np.arange(width, dtype=np.float32) - centre[:, :1]) ** 2
    dy2 = (np.arange(height, dtype=np.float32) - centre[:, 1:]) ** 2
    gaussians = dx2[:, None, :] + dy2[:, :, None]
    gaussians /= -(2 * sigma**2)
    np.exp(gaussians, out=gaussians)
    if drawn.all():
        return gaussians.astype(np.float32, copy=False), weights
    heatmaps = np.zeros((len(keypoints), height, width), dtype=np.float32)
    heatmaps[drawn] = gaussians
    return heatmaps, weights


def _select(
    first: np.ndarray, last: np.ndarray, visible: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return which keypoints (K,) are drawn, and the visibilities of those that reach the map.

    Args:
        first: (K, 2) left and top of the Gaussians.
        last: (K, 2) right and bottom.
        visible: (K,).
        size: W and H.
    """
    labelled = ~(visible < VISIBILITY_CUT)
    outside = ((first >= size) | (last < 0)).any(axis=1)
    weights = visible.copy()
    weights[labelled & outside] = 0
    return labelled & ~outside, weights


@lru_cache(typed=True)
def _patch(sigma: float) -> np.ndarray:
    """Return the Gaussian around the centre of a square of 6 sigma + 1 pixels, read only."""
    size = 2 * (sigma * 3) + 1
    x = np.arange(0, size, 1, dtype=np.float32) - size // 2
    patch = np.exp(-(x**2 + x[:, None] ** 2) / (2 * sigma**2))
    patch.flags.writeable = False
    return patch

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""From a network's outputs to keypoints, for all persons of a batch at once.

The values are those of MMPose's codecs, which need PyTorch and decode one person after another.

B persons, K keypoints, heatmaps of W x H pixels (width and height).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def mirror_heatmaps(
    heatmaps: np.ndarray, flip_indices: Sequence[int] | None, shift: bool
) -> np.ndarray:
    """Turn the heatmaps of mirrored crops into those of the crops.

    Args:
        heatmaps: (B, K, H, W).
        flip_indices: For each channel the one of the other side; None leaves the channels alone.
        shift: Shift them by one pixel to the right, where the first column stays as it is.
    """
    mirrored = heatmaps[..., ::-1]
    if flip_indices is not None:
        mirrored = mirrored[:, list(flip_indices)]
    if shift:
        mirrored = np.concatenate([mirrored[..., :1], mirrored[..., :-1]], axis=-1)
    return mirrored


def find_maxima(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places (B, K, 2) of the maxima, x and y, and their values (B, K).

    Where no value is positive the place is (-1, -1).
    """
    width = heatmaps.shape[-1]
    flat = heatmaps.reshape(*heatmaps.shape[:2], -1)
    index = flat.argmax(axis=-1)
    values = np.take_along_axis(flat, index[..., None], axis=-1)[..., 0]
    places = np.stack([index % width, index // width], axis=-1)
    places[values <= 0] = -1
    return places, values


def blur(heatmaps: np.ndarray, kernel_size: int) -> np.ndarray:
    """Blur each heatmap with a Gaussian over zeros outside it, and keep its maximum.

    Args:
        heatmaps: (B, K, H, W) float32.
        kernel_size: Odd size of the kernel; OpenCV derives the standard deviation from it.
    """
    count, (height, width) = heatmaps.shape[0] * heatmaps.shape[1], heatmaps.shape[2:]
    # one tall picture, in which zeros keep the maps apart
    tall = np.zeros((count, height + kernel_size // 2, width), np.float32)
    tall[:, :height] = heatmaps.reshape(count, height, width)
    blurred = cv2.GaussianBlur(
        tall.reshape(-1, width), (kernel_size, kernel_size), 0, borderType=cv2.BORDER_CONSTANT
    )
    blurred = blurred.reshape(tall.shape)[:, :height].reshape(heatmaps.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        return blurred * (
            heatmaps.max(axis=(2, 3), keepdims=True) / blurred.max(axis=(2, 3), keepdims=True)
        )


def newton_step(
    dx: np.ndarray, dy: np.ndarray, dxx: np.ndarray, dxy: np.ndarray, dyy: np.ndarray
) -> np.ndarray:
    """Return the step (..., 2) from a point to the stationary point of its parabola.

    Args:
        dx, dy: First derivatives.
        dxx, dxy, dyy: Second derivatives. Where their determinant is 0 the step is 0.
    """
    singular = dxx * dyy - dxy**2 == 0
    dx, dy, dxx, dxy, dyy = (d.astype(np.float64) for d in (dx, dy, dxx, dxy, dyy))
    determinant = np.where(singular, 1, dxx * dyy - dxy**2)
    step = np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(singular[..., None], 0, step / determinant[..., None])


def quarter_offset(heatmaps: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Move maxima by a quarter pixel towards the higher neighbour, in x and in y.

    Args:
        heatmaps: (B, K, H, W).
        places: (B, K, 2), as `find_maxima` returns them.
    """
    height, width = heatmaps.shape[2:]
    x, y = places[..., 0], places[..., 1]
    at = _sampler(heatmaps, places)
    in_x = (x > 1) & (x < width - 1) & (y > 0) & (y < height)
    in_y = (y > 1) & (y < height - 1) & (x > 0) & (x < width)
    dx = np.where(in_x, at(1, 0) - at(-1, 0), 0)
    dy = np.where(in_y, at(0, 1) - at(0, -1), 0)
    return places + 0.25 * np.sign(np.stack([dx, dy], axis=-1))


def dark_offset(heatmaps: np.ndarray, places: np.ndarray, kernel_size: int) -> np.ndarray:
    """Move maxima to those of the Gaussians around them (DARK, https://arxiv.org/abs/1910.06278).

    Args:
        heatmaps: (B, K, H, W).
        places: (B, K, 2), as `find_maxima` returns them.
        kernel_size: Of the blur before it.
    """
    height, width = heatmaps.shape[2:]
    x, y = places[..., 0], places[..., 1]
    blurred = _sampler(blur(heatmaps, kernel_size), places)

    def at(i, j):
        return np.log(np.maximum(blurred(i, j), 1e-10))

    step = newton_step(
        dx=0.5 * (at(1, 0) - at(-1, 0)),
        dy=0.5 * (at(0, 1) - at(0, -1)),
        dxx=0.25 * (at(2, 0) - 2 * at(0, 0) + at(-2, 0)),
        dxy=0.25 * (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)),
        dyy=0.25 * (at(0, 2) - 2 * at(0, 0) + at(0, -2)),
    )
    inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
    return places + np.where(inside[..., None], step, 0)


def udp_offset(heatmaps: np.ndarray, places: np.ndarray, kernel_size: int) -> np.ndarray:
    """Move maxima as UDP does (https://arxiv.org/abs/1911.07524), at the border too.

    Args:
        heatmaps: (B, K, H, W).
        places: (B, K, 2), as `find_maxima` returns them.
        kernel_size: Of the blur before it.
    """
    blurred = np.pad(blur(heatmaps, kernel_size), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    persons, count, height, width = blurred.shape
    # MMPose's flat index, also for places (-1, -1), which reach into the map before
    flat = blurred.reshape(persons, -1)
    index = places[..., 0] + 1 + (places[..., 1] + 1) * width + height * width * np.arange(count)

    def at(i, j):
        return np.log(np.clip(np.take_along_axis(flat, index + i + j * width, axis=1), 1e-3, 50))

    dx, dy = 0.5 * (at(1, 0) - at(-1, 0)), 0.5 * (at(0, 1) - at(0, -1))
    dxx = at(1, 0) - 2 * at(0, 0) + at(-1, 0)
    dyy = at(0, 1) - 2 * at(0, 0) + at(0, -1)
    dxy = 0.5 * (at(1, 1) - at(1, 0) - at(0, 1) + 2 * at(0, 0) - at(-1, 0) - at(0, -1) + at(-1, -1))
    tiny = np.finfo(np.float32).eps
    return places + newton_step(dx, dy, dxx.astype(np.float64) + tiny, dxy, dyy + float(tiny))


def decode_heatmaps(heatmaps: np.ndarray, codec: dict, input_size: tuple[int, int]) -> tuple:
    """Decode heatmaps as MMPose's codec does.

    Args:
        heatmaps: (B, K, H, W) float32.
        codec: ``type``, ``MSRAHeatmap`` (with ``unbiased``) or ``UDPHeatmap``, and its
            ``blur_kernel_size``.
        input_size: Width and height of the crops.

    Returns:
        Keypoints (B, K, 2) in pixels of the crops and scores (B, K).
    """
    places, scores = find_maxima(heatmaps)
    size = np.array(heatmaps.shape[:1:-1])
    input_size = np.array(input_size)
    if codec["type"] == "UDPHeatmap":
        places = udp_offset(heatmaps, places, codec["blur_kernel_size"])
        return places / (size - 1) * input_size, scores
    if codec["unbiased"]:
        places = dark_offset(heatmaps, places, codec["blur_kernel_size"])
    else:
        places = quarter_offset(heatmaps, places)
    return places * (input_size / size), scores


def decode_simcc(x: np.ndarray, y: np.ndarray, split_ratio: float) -> tuple:
    """Decode the distributions of SimCC along both axes (https://arxiv.org/abs/2107.03332).

    Args:
        x: (B, K, Wx).
        y: (B, K, Wy).
        split_ratio: Bins per pixel of the crop.

    Returns:
        Keypoints (B, K, 2) in pixels of the crops and scores (B, K), the smaller of the maxima.
        Where that is not positive, both coordinates are -1 bin.
    """
    scores = np.minimum(x.max(axis=-1), y.max(axis=-1))
    places = np.stack([x.argmax(axis=-1), y.argmax(axis=-1)], axis=-1)
    places[scores <= 0] = -1
    return places / split_ratio, scores


def _sampler(heatmaps: np.ndarray, places: np.ndarray):
    """Return a function of (i, j) that reads each heatmap i to the right of its place and j below.

    Beyond the border it reads some other value, which the callers do not use.
    """
    persons, count, height, width = heatmaps.shape
    flat = heatmaps.reshape(-1)
    start = np.arange(persons * count).reshape(persons, count) * (height * width)
    index = start + places[..., 1] * width + places[..., 0]

    def at(i: int, j: int) -> np.ndarray:
        return flat.take(index + (j * width + i), mode="clip")

    return at

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""MMPose's decoders for all persons at once, in operators that ONNX has.

The values are those of the codecs' ``decode``, but for rounding: the codecs, in NumPy, take one
person after another. B persons, K keypoints, heatmaps of W x H pixels (width and height).
"""

from __future__ import annotations

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Decoder(nn.Module):
    """From what MMPose's head would decode to keypoints.

    Args:
        codec: ``type`` of the codec and its parameters, as :class:`PoseSpec` holds them.
        input_size: Width and height of the crops.

    Shape:
        The head's output or outputs -> keypoints (B, K, 2) in pixels of the crops, and scores
        (B, K).
    """

    def __init__(self, codec: dict, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.codec = codec
        self.input_size = input_size
        if kernel_size := codec.get("blur_kernel_size"):
            self.register_buffer("kernel", gaussian_kernel(kernel_size), persistent=False)

    def forward(self, *outputs: Tensor) -> tuple[Tensor, Tensor]:
        kind = self.codec["type"]
        if kind == "SimCCLabel":
            x, y = outputs
            return decode_simcc(x, y, self.codec["split_ratio"])
        if kind == "RegressionLabel":
            (coords,) = outputs
            return decode_regression(coords, self.input_size)
        (heatmaps,) = outputs
        height, width = (int(size) for size in heatmaps.shape[2:])
        places, scores = find_maxima(heatmaps)
        cells = (width, height)
        if kind == "UDPHeatmap":
            step = udp_step(blur(heatmaps, self.kernel), places)
            cells = (width - 1, height - 1)
        elif self.codec["unbiased"]:
            step = dark_step(blur(heatmaps, self.kernel), places)
        else:
            step = quarter_step(heatmaps, places)
        found = (scores > 0)[..., None]
        places = torch.where(found, places + step, -torch.ones_like(places))
        scale = [size / cell for size, cell in zip(self.input_size, cells)]
        return places * heatmaps.new_tensor(scale), scores


def find_maxima(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the places (B, K, 2) of the maxima, x and y, and their values (B, K)."""
    width = int(heatmaps.shape[3])
    scores, index = heatmaps.flatten(2).max(dim=-1)
    index = index.to(heatmaps.dtype)
    y = torch.floor(index / width)
    return torch.stack([index - y * width, y], dim=-1), scores


def gaussian_kernel(size: int) -> Tensor:
    """Return OpenCV's Gaussian (size,) of that odd size, float32."""
    return torch.from_numpy(cv2.getGaussianKernel(size, 0)).float().flatten()


def blur(heatmaps: Tensor, kernel: Tensor) -> Tensor:
    """Blur each heatmap with a Gaussian over zeros outside it, and keep its maximum.

    Args:
        heatmaps: (B, K, H, W).
        kernel: (n,), n odd.
    """
    height, width = (int(size) for size in heatmaps.shape[2:])
    half = len(kernel) // 2
    maps = heatmaps.reshape(-1, 1, height, width)
    maps = F.conv2d(maps, kernel.reshape(1, 1, 1, -1), padding=(0, half))
    maps = F.conv2d(maps, kernel.reshape(1, 1, -1, 1), padding=(half, 0))
    blurred = maps.reshape(-1, int(heatmaps.shape[1]), height, width)
    largest = _largest(blurred)
    scale = _largest(heatmaps) / torch.where(largest == 0, torch.ones_like(largest), largest)
    return blurred * scale[..., None, None]


def quarter_step(heatmaps: Tensor, places: Tensor) -> Tensor:
    """Return steps (B, K, 2) of a quarter pixel towards the higher neighbour, in x and in y.

    Args:
        heatmaps: (B, K, H, W).
        places: (B, K, 2), as `find_maxima` returns them.
    """
    height, width = (int(size) for size in heatmaps.shape[2:])
    right, left, below, above = neighbours(heatmaps, places, [(1, 0), (-1, 0), (0, 1), (0, -1)])
    x, y = places.unbind(-1)
    in_x = (x > 1) & (x < width - 1) & (y > 0)
    in_y = (y > 1) & (y < height - 1) & (x > 0)
    return 0.25 * torch.stack([(right - left).sign() * in_x, (below - above).sign() * in_y], -1)


def dark_step(blurred: Tensor, places: Tensor) -> Tensor:
    """Return steps (B, K, 2) to the maxima of the Gaussians around the places.

    DARK, https://arxiv.org/abs/1910.06278.

    Args:
        blurred: (B, K, H, W), as `blur` returns them.
        places: (B, K, 2), as `find_maxima` returns them.
    """
    height, width = (int(size) for size in blurred.shape[2:])
    cross = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (2, 0), (-2, 0), (0, 2), (0, -2)]
    corners = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    at = [tap.clamp(min=1e-10).log() for tap in neighbours(blurred, places, cross + corners)]
    middle, right, left, below, above, right2, left2, below2, above2, *diagonal = at
    step = newton_step(
        dx=0.5 * (right - left),
        dy=0.5 * (below - above),
        dxx=0.25 * (right2 - 2 * middle + left2),
        dxy=0.25 * (diagonal[0] - diagonal[1] - diagonal[2] + diagonal[3]),
        dyy=0.25 * (below2 - 2 * middle + above2),
    )
    x, y = places.unbind(-1)
    inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2)
    return torch.where(inside[..., None], step, torch.zeros_like(step))


def udp_step(blurred: Tensor, places: Tensor) -> Tensor:
    """Return steps (B, K, 2) as UDP takes them, at the border too.

    UDP, https://arxiv.org/abs/1911.07524.

    Args:
        blurred: (B, K, H, W), as `blur` returns them.
        places: (B, K, 2), as `find_maxima` returns them.
    """
    offsets = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)]
    at = [tap.clamp(1e-3, 50).log() for tap in neighbours(blurred, places, offsets)]
    middle, right, left, below, above, after, before = at
    eps = torch.finfo(torch.float32).eps
    return newton_step(
        dx=0.5 * (right - left),
        dy=0.5 * (below - above),
        dxx=right - 2 * middle + left + eps,
        dxy=0.5 * (after - right - below + 2 * middle - left - above + before),
        dyy=below - 2 * middle + above + eps,
    )


def newton_step(dx: Tensor, dy: Tensor, dxx: Tensor, dxy: Tensor, dyy: Tensor) -> Tensor:
    """Return the step (..., 2) from a point to the stationary point of its parabola.

    Args:
        dx, dy: First derivatives.
        dxx, dxy, dyy: Second derivatives. Where their determinant is 0 the step is 0.
    """
    determinant = dxx * dyy - dxy * dxy
    singular = determinant == 0
    step = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=-1)
    step = step / torch.where(singular, torch.ones_like(determinant), determinant)[..., None]
    return torch.where(singular[..., None], torch.zeros_like(step), step)


def neighbours(heatmaps: Tensor, places: Tensor, offsets: list[tuple[int, int]]) -> list[Tensor]:
    """Read heatmaps beside places; beyond the border, the pixel at the border.

    Args:
        heatmaps: (B, K, H, W).
        places: (B, K, 2), x and y.
        offsets: Pixels to the right and below.

    Returns:
        For each offset (B, K).
    """
    height, width = (int(size) for size in heatmaps.shape[2:])
    x, y = (places[..., None, :] + places.new_tensor(offsets)).unbind(-1)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return list(heatmaps.flatten(2).gather(-1, index.to(torch.int64)).unbind(-1))


def decode_simcc(x: Tensor, y: Tensor, split_ratio: float) -> tuple[Tensor, Tensor]:
    """Decode the distributions of SimCC along both axes (https://arxiv.org/abs/2107.03332).

    Args:
        x: (B, K, Wx).
        y: (B, K, Wy).
        split_ratio: Bins per pixel of the crop.

    Returns:
        Keypoints (B, K, 2) in pixels of the crops and scores (B, K), the smaller of the maxima.
        Where that is not positive, both coordinates are -1 bin.
    """
    (score_x, place_x), (score_y, place_y) = x.max(dim=-1), y.max(dim=-1)
    scores = torch.minimum(score_x, score_y)
    places = torch.stack([place_x, place_y], dim=-1).to(x.dtype)
    places = torch.where((scores > 0)[..., None], places, -torch.ones_like(places))
    return places / split_ratio, scores


def decode_regression(coords: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Decode regressed coordinates.

    Args:
        coords: (B, 1, K, 2) x and y as fractions of the crop; or (B, 1, K, 4), with deviations.
        input_size: Width and height of the crops.

    Returns:
        Keypoints (B, K, 2) in pixels of the crops and scores (B, K): 1 less the mean deviation.
    """
    coords = coords[:, 0]
    keypoints = coords[..., :2] * coords.new_tensor([float(size) for size in input_size])
    if coords.shape[-1] == 2:
        return keypoints, torch.ones_like(coords[..., 0])
    return keypoints, 1 - coords[..., 2:].mean(dim=-1)


def _largest(heatmaps: Tensor) -> Tensor:
    return heatmaps.flatten(2).amax(dim=-1)

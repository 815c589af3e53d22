# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""From boxes in an image to the crops that a top-down network sees, as MMPose makes them.

N boxes; a crop is w x h pixels (width and height).
"""

from __future__ import annotations

from pathlib import Path
from typing import Union

import cv2
import numpy as np

from .pose_spec import PoseSpec

Image = Union[np.ndarray, str, Path]

#: Pixels; a box that reaches farther is taken for a mistake.
FARTHEST = 1e9
#: Pixels a side of the largest image that OpenCV warps.
LARGEST = 32766


def crop_persons(
    image: np.ndarray, boxes: np.ndarray | list | None, spec: PoseSpec
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Crop persons out of an image.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4) left, top, right, bottom; None for the whole image.
        spec: What the network needs.

    Returns:
        Crops (N, h, w, 3), the boxes (N, 4), and the crops' centres and sizes in the image, each
        (N, 2).

    Raises:
        ValueError: If the boxes do not fit, see :func:`check_boxes`.
    """
    if boxes is None:
        boxes = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
    boxes = check_boxes(boxes)
    width, height = spec.input_size
    centers, sizes = crop_geometry(boxes, spec.input_size, spec.padding)
    crops = np.empty((len(boxes), height, width, 3), np.uint8)
    for crop, center, size in zip(crops, centers, sizes):
        part, origin, step = within_reach(image, center, size)
        matrix = warp_matrix((center - origin) / step, size / step, spec.input_size, spec.use_udp)
        cv2.warpAffine(part, matrix, (width, height), dst=crop, flags=cv2.INTER_LINEAR)
    return crops, boxes, centers, sizes


def within_reach(
    image: np.ndarray, center: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the part of an image around a crop that OpenCV can warp.

    OpenCV warps images of up to ``LARGEST`` pixels a side. Of a larger one it gets what lies under
    the crop, every other pixel or fewer where that is still too large.

    Args:
        image: (H, W, 3).
        center: (2,) centre of the crop.
        size: (2,) width and height of the crop.

    Returns:
        The part, the place of its first pixel in the image, and the step between its pixels.
    """
    shape = np.array(image.shape[1::-1])
    if shape.max() <= LARGEST:
        return image, np.zeros(2, np.float32), 1
    first = np.clip(np.floor(center - 0.5 * size) - 2, 0, shape - 1).astype(int)
    last = np.clip(np.ceil(center + 0.5 * size) + 2, first + 1, shape).astype(int)
    step = int(np.ceil((last - first).max() / LARGEST))
    part = image[first[1] : last[1] : step, first[0] : last[0] : step]
    return np.ascontiguousarray(part), first, step


def read_image(image: Image) -> np.ndarray:
    """Return an image as a contiguous uint8 array (H, W, 3) in the order BGR.

    Args:
        image: As :class:`OnnxPose` takes it.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it holds no image, or the array is none of the kinds.
    """
    if isinstance(image, (str, Path)):
        content = np.fromfile(image, np.uint8)
        try:
            decoded = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
        except cv2.error as error:  # more pixels than it takes
            raise ValueError(f"{image} cannot be read by OpenCV: {error}") from error
        if decoded is None:
            raise ValueError(f"{image} holds no image that OpenCV can read")
        return decoded
    if not isinstance(image, np.ndarray):
        raise ValueError(f"an image must be a path or a NumPy array, got {type(image).__name__}")
    if image.dtype != np.uint8:
        raise ValueError(
            f"an image must be of uint8, got {image.dtype}: scale its values to 0 to 255 first "
            "(the full range of uint16: (image >> 8).astype(np.uint8))"
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.size == 0 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,), (4,)):
        raise ValueError(
            "an image must be of shape (H, W, 3) in the order BGR, (H, W, 4) or (H, W), got "
            f"{image.shape}"
        )
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(image[..., :3])


def from_xywh(boxes: np.ndarray | list) -> np.ndarray:
    """Turn boxes (N, 4) of left, top, width, height into those of left, top, right, bottom.

    Raises:
        ValueError: If a width or height is negative, or the boxes do not fit otherwise.
    """
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        return check_boxes(boxes)
    return check_boxes(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]))


def check_boxes(boxes: np.ndarray | list) -> np.ndarray:
    """Return boxes (N, 4) of left, top, right, bottom as floats.

    Raises:
        ValueError: If the shape is another, a number is not finite or beyond ``FARTHEST``, or a
            box has no extent.
    """
    boxes = np.asarray(boxes)
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "iuf":
        raise ValueError(
            "bboxes must be numbers of shape (N, 4), left, top, right, bottom in pixels of the "
            f"image for each person, got shape {boxes.shape} of {boxes.dtype}"
        )
    if boxes.dtype.kind != "f" or boxes.dtype.itemsize < 4:
        boxes = boxes.astype(np.float64)
    usable = (np.abs(boxes) <= FARTHEST).all(axis=1)  # false for NaN, too
    if not usable.all():
        bad = int(np.nonzero(~usable)[0][0])
        raise ValueError(
            f"bboxes must be finite and within {FARTHEST:g} pixels, box {bad} is "
            f"{boxes[bad].tolist()}"
        )
    sizes = boxes[:, 2:] - boxes[:, :2]
    empty = (sizes < 0).any(axis=1) | (sizes == 0).all(axis=1)
    if empty.any():
        bad = int(np.nonzero(empty)[0][0])
        raise ValueError(
            "bboxes must be left, top, right, bottom with right >= left and bottom >= top and not "
            f"both equal, box {bad} is {boxes[bad].tolist()}"
        )
    return boxes


def crop_geometry(
    boxes: np.ndarray, input_size: tuple[int, int], padding: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pad boxes and widen them to the shape of the crop.

    Args:
        boxes: (N, 4) left, top, right, bottom.
        input_size: w and h.
        padding: Factor by which boxes grow.

    Returns:
        Centres and sizes of the crops in pixels of the image, each (N, 2).
    """
    width, height = input_size
    aspect_ratio = width / height
    centers = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    w, h = np.hsplit((boxes[:, 2:] - boxes[:, :2]) * padding, [1])
    wide = w > h * aspect_ratio
    sizes = np.where(wide, np.hstack([w, w / aspect_ratio]), np.hstack([h * aspect_ratio, h]))
    return centers, sizes


def warp_matrix(
    center: np.ndarray, size: np.ndarray, input_size: tuple[int, int], use_udp: bool
) -> np.ndarray:
    """Return the affine map (2, 3) from pixels of the image to pixels of the crop.

    It maps the corners of the crop to its outer edges, or under UDP's rule to the centres of the
    outermost pixels (https://arxiv.org/abs/1911.07524).

    Args:
        center: (2,) centre of the crop in the image.
        size: (2,) width and height of the crop in the image.
        input_size: w and h.
        use_udp: Whether to use UDP's rule.
    """
    w, h = input_size
    if use_udp:
        scale = (w - 1) / size[0], (h - 1) / size[1]
        shift = scale[0] * (size[0] * 0.5 - center[0]), scale[1] * (size[1] * 0.5 - center[1])
        return np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]], np.float32)
    # Through OpenCV and three points in float32, as MMPose does: OpenCV rounds the positions that
    # it samples to 1/32 pixel, so that a matrix that is merely close gives other grey values.
    x, y = center
    half = size[0] * 0.5
    src = np.array([[x, y], [x - half, y], [x - half, y + half]], np.float32)
    src[2] = src[1, 0], src[1, 1] + (src[0, 0] - src[1, 0])
    dst = np.array([[w * 0.5, h * 0.5], [0, h * 0.5], [0, h * 0.5 + w * 0.5]], np.float32)
    return cv2.getAffineTransform(src, dst)


def to_image(
    keypoints: np.ndarray, centers: np.ndarray, sizes: np.ndarray, input_size: tuple[int, int]
) -> np.ndarray:
    """Map keypoints (N, K, 2) from pixels of the crops to pixels of the image."""
    return keypoints / input_size * sizes[:, None] + (centers - 0.5 * sizes)[:, None]

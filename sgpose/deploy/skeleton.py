# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""How poses are drawn: the colours, which exported files carry along, and the drawing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from .pose_spec import PoseSpec
    from .poses import Poses

LEFT, RIGHT, MIDDLE = (0, 255, 0), (255, 128, 0), (51, 153, 255)
_SIDES = {"left": LEFT, "l": LEFT, "right": RIGHT, "r": RIGHT}


def side_colors(names: Sequence[str], links: Sequence[Sequence[int]]) -> tuple[list, list]:
    """Choose colours by side: left is green, right orange, and what is neither blue.

    Args:
        names: Names of K keypoints, such as ``left_knee`` or ``R_Knee``.
        links: Pairs of their numbers; a limb has the colour of its ends, or of the one
            that is on a side.

    Returns:
        Red, green and blue of each keypoint, and of each limb.
    """
    sides = [_side(name) for name in names]
    return sides, [_shared(sides[a], sides[b]) for a, b in links]


def _side(name: str) -> tuple[int, int, int]:
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return next((_SIDES[word] for word in words if word in _SIDES), MIDDLE)


def _shared(a: tuple, b: tuple) -> tuple:
    """Return the colour of a limb: from the middle to a side it is that side's."""
    if a == MIDDLE:
        return b
    return a if b in (a, MIDDLE) else MIDDLE


def draw_poses(
    image: np.ndarray,
    poses: Poses,
    spec: PoseSpec,
    threshold: float = 0.3,
    labels: Sequence[str] = (),
) -> np.ndarray:
    """Draw skeletons into an image.

    Args:
        image: (H, W, 3) uint8 in the order BGR.
        poses: Of N persons.
        spec: What the model says of itself, with the colours.
        threshold: Keypoints with a lower score, and limbs to them, are left out.
        labels: N texts, written above the persons' boxes.

    Returns:
        (H, W, 3), a new image.
    """
    image = image.copy()
    unit = max(1.0, max(image.shape[:2]) / 400)  # half of a limb's width

    def place(point: np.ndarray) -> tuple[int, ...]:  # in 1/16 pixel
        return tuple(int(v) for v in np.rint(np.clip(point, -1e4, 1e5) * 16))

    for keypoints, scores in zip(poses.keypoints, poses.scores):
        for (a, b), color in zip(spec.skeleton, spec.skeleton_colors):
            if min(scores[a], scores[b]) >= threshold:
                ends = place(keypoints[a]), place(keypoints[b])
                cv2.line(image, *ends, color[::-1], round(2 * unit), cv2.LINE_AA, shift=4)
        for point, score, color in zip(keypoints, scores, spec.keypoint_colors):
            if score >= threshold:
                radius = round(1.8 * unit * 16)
                cv2.circle(image, place(point), radius, color[::-1], -1, cv2.LINE_AA, shift=4)
                cv2.circle(image, place(point), radius, (255, 255, 255), 1, cv2.LINE_AA, shift=4)
    for box, label in zip(() if poses.boxes is None else poses.boxes, labels):
        corner = (int(max(box[0], 0)), int(max(box[1] - 2 * unit, 12 * unit)))
        for color, width in (((0, 0, 0), 3 * unit), ((255, 255, 255), unit)):
            font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.5 * unit
            cv2.putText(image, label, corner, font, size, color, round(width), cv2.LINE_AA)
    return image

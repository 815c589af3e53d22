# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Poses:
    """Poses of N persons in one image; all places are in pixels of the image.

    It unpacks into keypoints and scores: ``keypoints, scores = poses``.

    Args:
        keypoints: (N, K, 2), x and y.
        scores: (N, K), in the model's own range, mostly [0, 1].
        boxes: (N, 4) left, top, right, bottom of the boxes in which they were looked for.
        guide_maps: (N, S, h, w) segmentation maps of the S guides in [0, 1], or None.
        crops: (N, 4) left, top, right, bottom of what the maps cover, or None.

    Examples:
        >>> poses = Poses(np.zeros((1, 17, 2)), np.ones((1, 17)), np.array([[0, 0, 96, 128]]))
        >>> keypoints, scores = poses
        >>> keypoints.shape
        (1, 17, 2)
    """

    keypoints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray | None = None
    guide_maps: np.ndarray | None = None
    crops: np.ndarray | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.keypoints, self.scores))

    def instances(self) -> list[dict]:
        """Return the persons as MMPose writes them to JSON, each a dict of plain lists."""
        found = [
            dict(keypoints=keypoints, keypoint_scores=scores)
            for keypoints, scores in zip(self.keypoints.tolist(), self.scores.tolist())
        ]
        for person, box in zip(found, [] if self.boxes is None else self.boxes.tolist()):
            person["bbox"] = [box]
        return found

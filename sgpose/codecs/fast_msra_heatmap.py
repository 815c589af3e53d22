# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import numpy as np
from mmpose.codecs import MSRAHeatmap
from mmpose.registry import KEYPOINT_CODECS

from .gaussian_heatmaps import gaussian_heatmaps, unbiased_gaussian_heatmaps


@KEYPOINT_CODECS.register_module()
class FastMSRAHeatmap(MSRAHeatmap):
    """MMPose's MSRAHeatmap with a faster ``encode`` of the same values.

    :class:`SegmentationTarget` uses it wherever it is told to wrap a plain ``MSRAHeatmap``.
    Arguments and decoding are MSRAHeatmap's.

    Example:
        >>> codec = FastMSRAHeatmap(input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
        >>> codec.encode(np.full((1, 17, 2), 96, np.float32))["heatmaps"].shape
        (17, 64, 48)
    """

    def encode(self, keypoints: np.ndarray, keypoints_visible: np.ndarray | None = None) -> dict:
        """Encode the keypoints of one person.

        Args:
            keypoints: (1, K, 2) coordinates in pixels of the input image.
            keypoints_visible: (1, K) visibilities. Defaults to all visible.

        Returns:
            ``heatmaps``, (K, H, W) float32, and ``keypoint_weights``, (1, K).
        """
        if len(keypoints) != 1 or not isinstance(self.sigma, (int, float)):
            return super().encode(keypoints, keypoints_visible)
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], dtype=np.float32)
        draw = unbiased_gaussian_heatmaps if self.unbiased else gaussian_heatmaps
        heatmaps, weights = draw(
            keypoints[0] / self.scale_factor, keypoints_visible[0], self.heatmap_size, self.sigma
        )
        return dict(heatmaps=heatmaps, keypoint_weights=weights[None])

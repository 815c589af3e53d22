# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmpose.registry import KEYPOINT_CODECS

from sgpose.codecs import SegmentationTarget
from sgpose.codecs.gaussian_heatmaps import VISIBILITY_CUT
from sgpose.codecs.masks import check_radius


def limb_capsules(
    keypoints: np.ndarray,
    visible: np.ndarray,
    links: Sequence[Sequence[int]],
    size: tuple[int, int],
    radius: float,
) -> np.ndarray:
    """Draw each limb: what is nearer than the radius to the line between its two keypoints.

    Args:
        keypoints: (K, 2) coordinates (x, y) in pixels of the map, as in :func:`keypoint_discs`.
        visible: (K,) visibilities; a limb with a keypoint below 0.5 marks nothing.
        links: L pairs of indices of keypoints.
        size: Width W and height H of the map.
        radius: Half the width of a limb in pixels of the map, > 0.

    Returns:
        (L, H, W) float32 maps: 1 on the limb, else 0.

    Raises:
        ValueError: If the radius is not positive or a link names a keypoint that there is not.
    """
    check_radius(radius)
    keypoints = np.asarray(keypoints, dtype=np.float64)
    usable = (np.asarray(visible) >= VISIBILITY_CUT) & np.isfinite(keypoints).all(axis=1)
    ends = np.asarray(links, dtype=np.int64).reshape(-1, 2)
    if len(ends) and not 0 <= ends.min() <= ends.max() < len(keypoints):
        raise ValueError(
            f"links go from keypoint {ends.min()} to {ends.max()}, there are {len(keypoints)} "
            "keypoints, counted from 0: look at skeleton_info in the dataset's metainfo, and where "
            "a CombinedDataset converts keypoints give LimbTarget(links=...)"
        )
    width, height = size
    maps = np.zeros((len(ends), height, width), dtype=np.float32)
    drawn = usable[ends].all(axis=1)
    start, end = keypoints[ends[drawn]].transpose(1, 2, 0)[..., None, None]
    x, y = np.arange(width) - start[0], np.arange(height)[:, None] - start[1]
    along_x, along_y = end - start
    length2 = np.maximum(along_x**2 + along_y**2, np.finfo(np.float64).tiny)
    part = ((x * along_x + y * along_y) / length2).clip(0, 1)
    distance2 = (x - part * along_x) ** 2 + (y - part * along_y) ** 2
    maps[drawn] = distance2 < radius**2
    return maps


@KEYPOINT_CODECS.register_module()
class LimbTarget(SegmentationTarget):
    """A segmentation target with a mask for each limb in place of the discs.

    Args:
        codec, radius, mask_size: See :class:`SegmentationTarget`; the radius is half the width of
            a limb.
        links (list, optional): The limbs, pairs of indices of keypoints. Defaults to the
            ``skeleton_links`` of the dataset's metainfo, in their order. A ``CombinedDataset``
            needs it: MMPose converts the keypoints of its parts there, and leaves their skeletons
            as they were.

    Encoded:

        - segmentation (np.ndarray): float32 masks in {0, 1}, (L, H, W), each the union over all
          N instances
        - all that the wrapped codec encodes
    """

    def __init__(
        self,
        codec: dict,
        radius: float = 5.0,
        mask_size: tuple[int, int] | None = None,
        links: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(codec, radius, mask_size)
        self.links = links
        if links is None:
            self.auxiliary_encode_keys.add("skeleton_links")

    def encode(
        self,
        keypoints: np.ndarray,
        keypoints_visible: np.ndarray | None = None,
        skeleton_links: Sequence[Sequence[int]] | None = None,
        **kwargs,
    ) -> dict:
        """Encode keypoints with the wrapped codec and add the masks.

        Raises:
            ValueError: As :class:`SegmentationTarget`, and if there are no limbs.
        """
        links = self.links or skeleton_links
        if not links:
            raise ValueError(
                "LimbTarget draws the dataset's skeleton, and its metainfo has none: add "
                "skeleton_info to the metainfo, or use SegmentationTarget"
            )
        encoded = super().encode(keypoints, keypoints_visible, **kwargs)
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], dtype=np.float32)
        points = keypoints[..., :2] / self.scale_factor
        encoded["segmentation"] = np.max(
            [
                limb_capsules(*person, links, self.mask_size, self.radius)
                for person in zip(points, keypoints_visible)
            ],
            axis=0,
        )
        return encoded

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import numpy as np
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS

#: MMPose's codecs draw nothing for a keypoint whose visibility is below this.
VISIBILITY_CUT = 0.5


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
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    visible = np.asarray(visible)
    if keypoints.ndim != 2 or keypoints.shape[1] != 2 or visible.shape != keypoints.shape[:1]:
        raise ValueError(
            "keypoint_discs needs keypoints of shape (K, 2) and visible of shape (K,), "
            f"got {keypoints.shape} and {visible.shape}"
        )
    _check_radius(radius)
    width, height = size
    x, y = keypoints[visible >= VISIBILITY_CUT].T
    dx2 = (np.arange(width) - x[:, None]) ** 2
    dy2 = (np.arange(height) - y[:, None]) ** 2
    inside = dx2[:, None, :] + dy2[:, :, None] < radius**2
    return inside.any(axis=0).astype(np.float32)


@KEYPOINT_CODECS.register_module()
class SegmentationTarget(BaseKeypointCodec):
    """Add a segmentation target to the targets of an MMPose codec.

    The target is a mask of discs around the labelled keypoints (paper, section 3.1, eq. 2,
    https://doi.org/10.18280/ts.410522). Everything else is the wrapped codec's: its targets,
    its mapping tables and its decoding. In a config the wrapper belongs in
    ``GenerateTarget(encoder=...)``; the head's decoder stays the wrapped codec.

    Note:

        - instance number: N
        - keypoint number: K
        - keypoint dimension: D
        - image size: [w, h]
        - mask size: [W, H]

    Encoded:

        - segmentation (np.ndarray): float32 mask in {0, 1} of shape (1, H, W), the union over
          the keypoints of all N instances
        - all that the wrapped codec encodes

    Args:
        codec (dict): Config of the wrapped codec, which must have a heatmap size or an input
            size. Its own ``scale_factor`` maps the keypoints,
            so that the discs lie where its heatmaps have their peaks (UDP's scale differs).
        radius (float): Radius of the discs in pixels of the mask, > 0. Defaults to 5.0, the best
            of the paper's Table 3 at 64x48.
        mask_size (tuple[int, int], optional): Mask size [W, H], for codecs that draw no heatmaps
            (SimCC, regression). Defaults to the wrapped codec's ``heatmap_size``.

    Raises:
        ValueError: If the radius is not positive, the codec has no heatmap size and no mask size
            is given, or a mask size is given that differs from the codec's heatmap size.
    """

    def __init__(
        self, codec: dict, radius: float = 5.0, mask_size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        _check_radius(radius)
        self.codec = KEYPOINT_CODECS.build(codec)
        self.radius = radius
        self.mask_size, self.scale_factor = _mask_geometry(self.codec, mask_size)

        self.auxiliary_encode_keys = self.codec.auxiliary_encode_keys
        self.instance_mapping_table = self.codec.instance_mapping_table
        self.label_mapping_table = self.codec.label_mapping_table
        self.field_mapping_table = dict(self.codec.field_mapping_table, segmentation="segmentation")

    def encode(
        self, keypoints: np.ndarray, keypoints_visible: np.ndarray | None = None, **kwargs
    ) -> dict:
        """Encode keypoints with the wrapped codec and add the mask.

        Args:
            keypoints: (N, K, D) coordinates in pixels of the input image; the first two
                dimensions are x and y.
            keypoints_visible: (N, K) visibilities. Defaults to all visible.
            kwargs: The wrapped codec's auxiliary items.

        Returns:
            The wrapped codec's targets and ``segmentation``, (1, H, W).
        """
        encoded = self.codec.encode(
            keypoints=keypoints, keypoints_visible=keypoints_visible, **kwargs
        )
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], dtype=np.float32)
        discs = keypoint_discs(
            (keypoints[..., :2] / self.scale_factor).reshape(-1, 2),
            keypoints_visible.reshape(-1),
            self.mask_size,
            self.radius,
        )
        encoded["segmentation"] = discs[None]
        return encoded

    def decode(self, encoded) -> tuple[np.ndarray, np.ndarray]:
        """Decode with the wrapped codec."""
        return self.codec.decode(encoded)

    def batch_decode(self, batch_encoded) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Decode a batch with the wrapped codec."""
        return self.codec.batch_decode(batch_encoded)

    @property
    def support_batch_decoding(self) -> bool:
        """Whether the wrapped codec decodes batches."""
        return self.codec.support_batch_decoding


def _check_radius(radius: float) -> None:
    if not (np.isfinite(radius) and radius > 0):
        raise ValueError(
            f"radius must be a positive number of mask pixels, got {radius}; the paper uses 5"
        )


def _mask_geometry(
    codec: BaseKeypointCodec, mask_size: tuple[int, int] | None
) -> tuple[tuple[int, int], np.ndarray]:
    """Return the mask size [W, H] and the input pixels per mask pixel in x and y."""
    name = type(codec).__name__
    heatmap_size = getattr(codec, "heatmap_size", None)
    if heatmap_size is not None:
        if mask_size is not None and tuple(mask_size) != tuple(heatmap_size):
            raise ValueError(
                f"mask_size {tuple(mask_size)} differs from the heatmap_size "
                f"{tuple(heatmap_size)} of {name}: the fields of one sample share one size, so "
                "leave mask_size out"
            )
        return tuple(heatmap_size), np.asarray(codec.scale_factor)
    if mask_size is None:
        raise ValueError(
            f"{name} has no heatmap_size: give SegmentationTarget a mask_size=(W, H), for "
            "instance a quarter of the input size"
        )
    input_size = getattr(codec, "input_size", None)
    if input_size is None:
        raise ValueError(
            f"{name} has no input_size, so its keypoints cannot be mapped to a mask: wrap a "
            "codec that has one"
        )
    scale_factor = (np.array(input_size) / mask_size).astype(np.float32)
    return tuple(mask_size), scale_factor

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import numpy as np
from mmpose.codecs import MSRAHeatmap, YOLOXPoseAnnotationProcessor
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS

from .fast_msra_heatmap import FastMSRAHeatmap
from .gaussian_heatmaps import VISIBILITY_CUT
from .masks import check_radius, keypoint_discs


@KEYPOINT_CODECS.register_module()
class SegmentationTarget(BaseKeypointCodec):
    """Add a segmentation target to the targets of an MMPose codec.

    The target is a mask of discs around the labelled keypoints, see :func:`keypoint_discs`.
    Everything else is the wrapped codec's: its targets, its mapping tables and its decoding. In a
    config the wrapper belongs in ``GenerateTarget(encoder=...)``; the head's decoder stays the
    wrapped codec.

    Note:

        - instance number: N
        - keypoint number: K
        - keypoint dimension: D
        - image size: [w, h]
        - mask size: [W, H]

    Encoded:

        - segmentation (np.ndarray): float32 mask in {0, 1} of shape (1, H, W), the union over all
          N instances
        - all that the wrapped codec encodes

    Args:
        codec (dict): Config of the wrapped codec, which must have a heatmap size or an input
            size. Its own ``scale_factor`` maps the keypoints,
            so that the discs lie where its heatmaps have their peaks (UDP's scale differs).
            For ``MSRAHeatmap``, :class:`FastMSRAHeatmap` draws the same heatmaps faster.
        radius (float): Radius of the discs in pixels of the mask, > 0. Defaults to 5.0, the best
            of the paper's Table 3 at 64x48.
        mask_size (tuple[int, int], optional): Mask size [W, H], for codecs that draw no heatmaps
            (SimCC, regression). Defaults to the wrapped codec's ``heatmap_size``.

    Raises:
        ValueError: If the radius is not positive, the codec has neither a heatmap size nor a mask
            size is given, the keypoints cannot be mapped to the mask, or a mask size is given that
            differs from the codec's heatmap size.

    Example:
        >>> codec = dict(type="MSRAHeatmap", input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
        >>> target = KEYPOINT_CODECS.build(dict(type="SegmentationTarget", codec=codec))
        >>> encoded = target.encode(np.full((1, 17, 2), 96, np.float32))
        >>> encoded["heatmaps"].shape, encoded["segmentation"].shape
        ((17, 64, 48), (1, 64, 48))
    """

    def __init__(
        self, codec: dict, radius: float = 5.0, mask_size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        check_radius(radius)
        self.codec = _build(codec)
        self.radius = radius
        self.mask_size, self.scale_factor = _mask_geometry(self.codec, codec, mask_size)
        self.auxiliary_encode_keys = set(self.codec.auxiliary_encode_keys)
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
            keypoints_visible: (N, K) visibilities >= 0. Defaults to all visible.
            kwargs: The wrapped codec's auxiliary items.

        Returns:
            The wrapped codec's targets and ``segmentation``, (1, H, W).

        Raises:
            ValueError: If an array has another shape or holds no numbers, a visible keypoint's
                coordinate, or a visibility, is not finite, or a visibility is negative.
        """
        _check_arrays(keypoints, keypoints_visible)
        _check_values(keypoints, keypoints_visible)
        encoded = self.codec.encode(
            keypoints=keypoints, keypoints_visible=keypoints_visible, **kwargs
        )
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], dtype=np.float32)
        points = keypoints[..., :2] / self.scale_factor
        encoded["segmentation"] = keypoint_discs(
            points.reshape(-1, 2), keypoints_visible.reshape(-1), self.mask_size, self.radius
        )[None]
        return encoded

    def decode(self, *args, **kwargs):
        """Decode with the wrapped codec."""
        return self.codec.decode(*args, **kwargs)

    def batch_decode(self, *args, **kwargs):
        """Decode a batch with the wrapped codec."""
        return self.codec.batch_decode(*args, **kwargs)

    @property
    def support_batch_decoding(self) -> bool:
        """Whether the wrapped codec decodes batches."""
        return self.codec.support_batch_decoding


def _build(cfg: dict) -> BaseKeypointCodec:
    codec = KEYPOINT_CODECS.build(cfg)
    if type(codec) is MSRAHeatmap:
        return KEYPOINT_CODECS.build(dict(cfg, type=FastMSRAHeatmap))
    return codec


def _check_arrays(keypoints: np.ndarray, visible: np.ndarray | None) -> None:
    """Raise a ValueError unless the arrays are (N, K, D) and (N, K) of real numbers."""
    fits = keypoints.ndim == 3 and keypoints.shape[2] >= 2 and keypoints.dtype.kind in "iuf"
    if visible is not None:
        fits = fits and visible.shape == keypoints.shape[:2] and visible.dtype.kind in "iufb"
    if not fits:
        seen = "none" if visible is None else f"{visible.shape} of {visible.dtype}"
        raise ValueError(
            "SegmentationTarget encodes keypoints of shape (N, K, D), D >= 2, and visibilities of "
            f"shape (N, K), got {keypoints.shape} of {keypoints.dtype} and {seen}"
        )


def _check_values(keypoints: np.ndarray, visible: np.ndarray | None) -> None:
    """Raise a ValueError where MMPose's codecs would draw targets that are no numbers, or weight
    an error with a negative number.
    """
    bad = ~np.isfinite(keypoints).all(axis=-1)
    if visible is not None:
        bad = bad & (visible >= VISIBILITY_CUT) | ~np.isfinite(visible) | (visible < 0)
    if not bad.any():
        return
    n, k = np.argwhere(bad)[0]
    seen = "" if visible is None else f" with visibility {visible[n, k]}"
    raise ValueError(
        f"keypoint {k} of person {n} in a sample lies at {keypoints[n, k].tolist()}{seen}, "
        f"{bad.sum()} of the sample's {bad.size} keypoints are like that: look in the annotations "
        "for coordinates, visibilities or boxes that are NaN, null or infinite, and for negative "
        "visibilities; a keypoint that is not labelled has visibility 0"
    )


def _mask_geometry(
    codec: BaseKeypointCodec, cfg: dict, mask_size: tuple[int, int] | None
) -> tuple[tuple[int, int], np.ndarray]:
    """Return the mask size [W, H] and the input pixels per mask pixel in x and y.

    Sizes that a codec takes and does not keep are read from its config.
    """
    name = type(codec).__name__
    heatmap_size = getattr(codec, "heatmap_size", cfg.get("heatmap_size"))
    input_size = getattr(codec, "input_size", cfg.get("input_size"))
    if isinstance(codec, YOLOXPoseAnnotationProcessor) and input_size is not None:
        input_size = input_size[::-1]  # the only one that has height and width
    if input_size is None and not hasattr(codec, "scale_factor"):
        raise ValueError(
            f"{name} states no input_size, so its keypoints cannot be mapped to a mask: add "
            "input_size to the codec's config if it takes one, or wrap another codec"
        )
    if heatmap_size is not None:
        size = int(heatmap_size[0]), int(heatmap_size[1])  # a third one is of depths
        if mask_size is not None and tuple(mask_size) != size:
            raise ValueError(
                f"mask_size {tuple(mask_size)} differs from the heatmap_size {size} of {name}: the "
                "fields of one sample share one size, so leave mask_size out"
            )
        if hasattr(codec, "scale_factor"):
            return size, np.asarray(codec.scale_factor)
    elif mask_size is not None:
        size = mask_size[0], mask_size[1]
    else:
        raise ValueError(
            f"{name} has no heatmap_size: give SegmentationTarget a mask_size=(W, H), for "
            "instance a quarter of the input size"
        )
    return size, (np.array(input_size) / size).astype(np.float32)

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from mmpose.codecs import MSRAHeatmap
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS

from .fast_msra_heatmap import FastMSRAHeatmap
from .gaussian_heatmaps import VISIBILITY_CUT

#: What a mask can be drawn of.
PARTS = ("keypoints", "limbs")


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
    keypoints = keypoints[(visible >= VISIBILITY_CUT) & np.isfinite(keypoints).all(axis=1)]
    width, height = size
    # each disc is tested in a window inside the map that holds all of its pixels
    window = np.minimum(size, math.floor(2 * radius) + 2)
    first = np.minimum(np.maximum(np.ceil(keypoints - radius), 0), size - window)
    columns = first[:, :1] + np.arange(window[0])
    rows = first[:, 1:] + np.arange(window[1])
    dx2 = (columns - keypoints[:, :1]) ** 2
    dy2 = (rows - keypoints[:, 1:]) ** 2
    inside = dx2[:, None, :] + dy2[:, :, None] < radius**2
    pixels = rows[:, :, None] * width + columns[:, None, :]
    mask = np.zeros(height * width, dtype=np.float32)
    mask[pixels[inside].astype(np.int64)] = 1
    return mask.reshape(height, width)


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
    _check_radius(radius)
    keypoints = np.asarray(keypoints, dtype=np.float64)
    usable = (np.asarray(visible) >= VISIBILITY_CUT) & np.isfinite(keypoints).all(axis=1)
    ends = np.asarray(links, dtype=np.int64).reshape(-1, 2)
    if len(ends) and not 0 <= ends.min() <= ends.max() < len(keypoints):
        raise ValueError(
            f"links go from keypoint {ends.min()} to {ends.max()}, there are {len(keypoints)} "
            "keypoints, counted from 0: look at skeleton_info in the dataset's metainfo, and where "
            "a CombinedDataset converts keypoints give SegmentationTarget(links=...)"
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
class SegmentationTarget(BaseKeypointCodec):
    """Add a segmentation target to the targets of an MMPose codec.

    The target is a mask of discs around the labelled keypoints (paper, section 3.1, eq. 2,
    https://doi.org/10.18280/ts.410522) or, with ``parts='limbs'``, a mask for each limb of the
    dataset's skeleton. Everything else is the wrapped codec's: its targets,
    its mapping tables and its decoding. In a config the wrapper belongs in
    ``GenerateTarget(encoder=...)``; the head's decoder stays the wrapped codec.

    Note:

        - instance number: N
        - keypoint number: K
        - keypoint dimension: D
        - image size: [w, h]
        - mask size: [W, H]

    Encoded:

        - segmentation (np.ndarray): float32 mask in {0, 1} of shape (1, H, W), or one for each
          of the L limbs, (L, H, W); the union over all N instances
        - all that the wrapped codec encodes

    Args:
        codec (dict): Config of the wrapped codec, which must have a heatmap size or an input
            size. Its own ``scale_factor`` maps the keypoints,
            so that the discs lie where its heatmaps have their peaks (UDP's scale differs).
            For ``MSRAHeatmap``, :class:`FastMSRAHeatmap` draws the same heatmaps faster.
        radius (float): Radius of the discs, or half the width of the limbs, in pixels of the
            mask, > 0. Defaults to 5.0, the best of the paper's Table 3 at 64x48.
        mask_size (tuple[int, int], optional): Mask size [W, H], for codecs that draw no heatmaps
            (SimCC, regression). Defaults to the wrapped codec's ``heatmap_size``.
        parts (str): ``'keypoints'`` (the paper) or ``'limbs'``. Limbs are the ``skeleton_links``
            of the dataset's metainfo, in their order. Defaults to ``'keypoints'``.
        links (list, optional): The limbs, pairs of indices of keypoints, instead of the
            dataset's. A ``CombinedDataset`` needs it: MMPose converts the keypoints of its parts
            there, and leaves their skeletons as they were.

    Raises:
        ValueError: If the radius is not positive, ``parts`` is neither, links are given and no
            limbs asked for, the codec has no heatmap
            size and no mask size is given, or a mask size is given that differs from the codec's
            heatmap size.
    """

    def __init__(
        self,
        codec: dict,
        radius: float = 5.0,
        mask_size: tuple[int, int] | None = None,
        parts: str = "keypoints",
        links: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        _check_radius(radius)
        if parts not in PARTS:
            raise ValueError(f"parts must be one of {PARTS}, got {parts!r}")
        self.codec = _build(codec)
        self.radius = radius
        self.mask_size, self.scale_factor = _mask_geometry(self.codec, mask_size)

        self.parts = parts
        if links is not None and parts != "limbs":
            raise ValueError(f"links are limbs: they need parts='limbs', got parts={parts!r}")
        self.links = links

        self.auxiliary_encode_keys = set(self.codec.auxiliary_encode_keys)
        if parts == "limbs" and links is None:
            self.auxiliary_encode_keys.add("skeleton_links")
        self.instance_mapping_table = self.codec.instance_mapping_table
        self.label_mapping_table = self.codec.label_mapping_table
        self.field_mapping_table = dict(self.codec.field_mapping_table, segmentation="segmentation")

    def encode(
        self,
        keypoints: np.ndarray,
        keypoints_visible: np.ndarray | None = None,
        skeleton_links: Sequence[Sequence[int]] | None = None,
        **kwargs,
    ) -> dict:
        """Encode keypoints with the wrapped codec and add the mask.

        Args:
            keypoints: (N, K, D) coordinates in pixels of the input image; the first two
                dimensions are x and y.
            keypoints_visible: (N, K) visibilities. Defaults to all visible.
            skeleton_links: L pairs of keypoint indices, needed for ``parts='limbs'`` without
                ``links``.
            kwargs: The wrapped codec's auxiliary items.

        Returns:
            The wrapped codec's targets and ``segmentation``, (1, H, W) or (L, H, W).

        Raises:
            ValueError: If an array has another shape or holds no numbers, a visible keypoint's
                coordinate, or a visibility, is not finite, or limbs are asked for and the dataset
                has none.
        """
        _check_arrays(keypoints, keypoints_visible)
        _check_finite(keypoints, keypoints_visible)
        encoded = self.codec.encode(
            keypoints=keypoints, keypoints_visible=keypoints_visible, **kwargs
        )
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2], dtype=np.float32)
        points = keypoints[..., :2] / self.scale_factor
        if self.parts == "keypoints":
            discs = keypoint_discs(
                points.reshape(-1, 2), keypoints_visible.reshape(-1), self.mask_size, self.radius
            )
            encoded["segmentation"] = discs[None]
        else:
            links = self.links or skeleton_links
            if not links:
                raise ValueError(
                    "parts='limbs' draws the dataset's skeleton, and its metainfo has none: add "
                    "skeleton_info to the metainfo, or use parts='keypoints'"
                )
            persons = [
                limb_capsules(*person, links, self.mask_size, self.radius)
                for person in zip(points, keypoints_visible)
            ]
            encoded["segmentation"] = np.max(persons, axis=0)
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


def _check_finite(keypoints: np.ndarray, visible: np.ndarray | None) -> None:
    """Raise a ValueError where MMPose's codecs would draw targets that are not numbers."""
    bad = ~np.isfinite(keypoints).all(axis=-1)
    if visible is not None:
        bad = bad & (visible >= VISIBILITY_CUT) | ~np.isfinite(visible)
    if not bad.any():
        return
    n, k = np.argwhere(bad)[0]
    seen = "" if visible is None else f" with visibility {visible[n, k]}"
    raise ValueError(
        f"keypoint {k} of person {n} in a sample lies at {keypoints[n, k].tolist()}{seen}, "
        f"{bad.sum()} of the sample's {bad.size} keypoints are like that: look in the annotations "
        "for coordinates, visibilities or boxes that are NaN, null or infinite; a keypoint that is "
        "not labelled has visibility 0"
    )


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

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpose.registry import METRICS

TYPES = ("correct", "mirrored", "other keypoint", "limb", "background")


def error_types(
    predicted: np.ndarray,
    truth: np.ndarray,
    visible: np.ndarray,
    size: float,
    flip_indices: Sequence[int],
    links: Sequence[Sequence[int]],
    thr: float = 0.2,
    near: float = 0.1,
    limb_radius: float = 0.07,
) -> np.ndarray:
    """Sort a person's predicted keypoints by what lies where they were put.

    The first that holds: within ``thr`` of the keypoint itself ("correct"), within ``near`` of its
    mirror twin ("mirrored"), of another labelled keypoint ("other keypoint"), within
    ``limb_radius`` of a limb's line ("limb"), anywhere else ("background").

    Args:
        predicted: (K, 2) pixels.
        truth: (K, 2) pixels.
        visible: (K,), whether a keypoint is labelled.
        size: Longer side of the person's box in pixels, in which the limits are measured.
        flip_indices: (K,), each keypoint's mirror twin, itself if it has none.
        links: L pairs of keypoints, the limbs.
        thr, near, limb_radius: The limits, as parts of ``size``.

    Returns:
        (K,) indices into ``TYPES``, -1 where the keypoint is not labelled.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    visible = np.asarray(visible, dtype=bool)
    distance = np.linalg.norm(predicted[:, None] - truth[None], axis=-1) / size
    own, twin = np.arange(len(truth)), np.asarray(flip_indices)
    links = np.asarray(links, dtype=np.int64).reshape(-1, 2)
    start, end = truth[links[visible[links].all(axis=1)]].transpose(1, 0, 2)
    along = end - start
    length2 = np.maximum((along**2).sum(axis=-1), np.finfo(np.float64).tiny)
    part = (((predicted[:, None] - start) * along).sum(axis=-1) / length2).clip(0, 1)
    foot = start + part[..., None] * along
    to_limb = np.linalg.norm(predicted[:, None] - foot, axis=-1) / size
    conditions = [
        ~visible,
        distance[own, own] < thr,
        (twin != own) & visible[twin] & (distance[own, twin] < near),
        ((distance < near) & visible & (own != own[:, None])).any(axis=1),
        (to_limb < limb_radius).any(axis=1),
    ]
    return np.select(conditions, [-1, 0, 1, 2, 3], default=4)


def sample_error_types(sample: dict, metainfo: dict, **limits: float) -> np.ndarray:
    """Sort the keypoints of one predicted sample, see :func:`error_types`.

    Args:
        sample: With ``pred_instances`` and ``gt_instances`` of one person.
        metainfo: The dataset's, with ``flip_indices`` and ``skeleton_links``.
        limits: Limits other than the defaults of :func:`error_types`.

    Returns:
        (K,) indices into ``TYPES``, -1 where the keypoint is not labelled.
    """
    truth = sample["gt_instances"]
    visible = np.asarray(truth["keypoints_visible"])[0]
    box = np.asarray(truth["bboxes"])[0]
    return error_types(
        np.asarray(sample["pred_instances"]["keypoints"])[0],
        np.asarray(truth["keypoints"])[0, :, :2],
        (visible[:, 0] if visible.ndim == 2 else visible) > 0,  # a converter adds weights
        float((box[2:] - box[:2]).max()),
        metainfo["flip_indices"],
        metainfo["skeleton_links"],
        **limits,
    )


@METRICS.register_module()
class KeypointErrorTypes(BaseMetric):
    """The share of labelled keypoints that are correct, or wrong in each of four ways.

    See :func:`error_types`. The shares sum to 1. For data sets with boxes, one person per sample.

    Args:
        thr, near, limb_radius: See :func:`error_types`.
        collect_device, prefix: As in any metric; the prefix defaults to ``'errors'``.
    """

    default_prefix = "errors"

    def __init__(
        self,
        thr: float = 0.2,
        near: float = 0.1,
        limb_radius: float = 0.07,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.limits = dict(thr=thr, near=near, limb_radius=limb_radius)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Sort the keypoints of a batch's persons."""
        for sample in data_samples:
            found = sample_error_types(sample, self.dataset_meta, **self.limits)
            self.results.append(np.bincount(found[found >= 0], minlength=len(TYPES)))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Return the share of each type."""
        counts = np.sum(results, axis=0)
        return {name: float(count) / counts.sum() for name, count in zip(TYPES, counts)}

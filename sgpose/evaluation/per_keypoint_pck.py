# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import numpy as np
from mmpose.evaluation.functional import keypoint_pck_accuracy
from mmpose.evaluation.metrics import PCKAccuracy
from mmpose.registry import METRICS


@METRICS.register_module()
class PerKeypointPCK(PCKAccuracy):
    """The percentage of correct keypoints for each keypoint by name.

    Correct is a keypoint that lies within ``thr`` times the longer side of the person's box, as in
    MMPose's PCKAccuracy, whose mean over keypoints is added as ``mean``.

    Args:
        thr (float): Threshold, > 0. Defaults to 0.2.
        prefix (str): Prefix of the metrics' names. Defaults to ``'pck'``.
        collect_device (str): As in PCKAccuracy.

    Example:
        >>> test_evaluator = [dict(type="PCKAccuracy", thr=0.2), dict(type="PerKeypointPCK")]
    """

    default_prefix = "pck"

    def __init__(
        self, thr: float = 0.2, prefix: str | None = None, collect_device: str = "cpu"
    ) -> None:
        super().__init__(thr=thr, norm_item="bbox", prefix=prefix, collect_device=collect_device)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Return the PCK in [0, 1] of each keypoint that is labelled somewhere, and the mean."""
        predicted, truth, mask, size = (
            np.concatenate([result[key] for result in results])
            for key in ("pred_coords", "gt_coords", "mask", "bbox_size")
        )
        each, mean, _ = keypoint_pck_accuracy(predicted, truth, mask, self.thr, size)
        names = self.dataset_meta["keypoint_id2name"]
        metrics = {names[i]: float(pck) for i, pck in enumerate(each) if pck >= 0}
        return dict(metrics, mean=float(mean))

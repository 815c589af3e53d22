# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest

from sgpose.evaluation import PerKeypointPCK


def sample(predicted, truth, visible, box):
    return dict(
        pred_instances=dict(keypoints=np.array([predicted], float)),
        gt_instances=dict(
            keypoints=np.array([truth], float),
            keypoints_visible=np.array([visible]),
            bboxes=np.array([box], float),
        ),
    )


def test_each_keypoint_by_name_and_their_mean():
    metric = PerKeypointPCK(thr=0.1)
    metric.dataset_meta = dict(keypoint_id2name={0: "wrist", 1: "knee", 2: "head"})
    # the longer side is 100 pixels, so that the limit is 10
    first = sample(
        [[9, 0], [50, 61], [0, 0]], [[0, 0], [50, 50], [0, 0]], [1, 1, 0], [0, 0, 50, 100]
    )
    # 40 pixels, limit 4
    second = sample([[5, 0], [3, 0], [0, 0]], [[0, 0], [0, 0], [0, 0]], [1, 1, 0], [0, 0, 40, 20])
    metric.process(None, [first, second])
    assert metric.evaluate(2) == pytest.approx(
        {"pck/wrist": 0.5, "pck/knee": 0.5, "pck/mean": 0.5}
    ), "a keypoint that is labelled nowhere has no score"

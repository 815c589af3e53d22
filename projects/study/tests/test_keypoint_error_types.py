# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest

from projects.study.keypoint_error_types import KeypointErrorTypes, error_types

# left and right hip, left knee, head; the box is 100 pixels high
TRUTH = np.array([[40.0, 50.0], [60.0, 50.0], [40.0, 90.0], [50.0, 10.0]])
FLIP, LINKS = [1, 0, 2, 3], [(0, 2), (0, 1), (1, 3)]


def sort(changes, visible=(1, 1, 1, 1)):
    predicted = TRUTH.copy()
    for index, point in changes.items():
        predicted[index] = point
    return error_types(predicted, TRUTH, np.array(visible), 100.0, FLIP, LINKS).tolist()


@pytest.mark.parametrize(
    ("point", "kind"),
    [
        ((50, 60), 0),  # 14 pixels away
        ((61, 51), 1),  # at the right hip
        ((40, 88), 2),  # at the knee
        ((43, 75), 3),  # between hip and knee, 15 pixels from the knee
        ((90, 80), 4),
    ],
)
def test_where_the_left_hip_can_land(point, kind):
    assert sort({0: point}) == [kind, 0, 0, 0]


def test_near_the_right_place_is_at_no_other_keypoint():
    kinds = error_types(TRUTH + [0, 7], TRUTH, np.ones(4), 100.0, FLIP, LINKS, thr=0.05)
    assert kinds.tolist() == [3, 4, 4, 3], "seven pixels below: on a limb or beside all of them"


def test_what_is_not_labelled_is_neither_sorted_nor_hit():
    # hip and knee at the right hip, which is not labelled and so ends no limb either
    assert sort({0: (65, 50), 2: (60, 50)}, (1, 0, 1, 1)) == [4, -1, 4, 0]
    assert sort({0: (90, 80)}, (1, 0, 0, 0)) == [4, -1, -1, -1]


@pytest.mark.filterwarnings("error")
def test_a_limb_without_length_is_a_point():
    truth = np.array([[50, 50], [50, 50], [90, 90]], np.float32)
    predicted = np.array([[50, 50], [50, 45], [50, 44]], np.float32)
    links = [(0, 1)]
    kinds = error_types(predicted, truth, np.ones(3), 100.0, [0, 1, 2], links, thr=0.02, near=0.03)
    assert kinds.tolist() == [0, 3, 3]


def test_shares_over_persons():
    metric = KeypointErrorTypes()
    metric.dataset_meta = dict(flip_indices=FLIP, skeleton_links=LINKS)
    truth = dict(keypoints=TRUTH[None], bboxes=np.array([[0.0, 0.0, 50.0, 100.0]]))
    for visible, hip in (([1, 1, 1, 1], (61, 51)), ([1, 0, 1, 0], (90, 80))):
        predicted = np.array([[hip, *TRUTH[1:]]])
        sample = dict(
            gt_instances=dict(truth, keypoints_visible=np.array([visible])),
            pred_instances=dict(keypoints=predicted),
        )
        metric.process(None, [sample])
    shares = metric.evaluate(2)
    assert shares == pytest.approx(
        {
            "errors/correct": 4 / 6,
            "errors/mirrored": 1 / 6,
            "errors/other keypoint": 0,
            "errors/limb": 0,
            "errors/background": 1 / 6,
        }
    )


def test_visibilities_with_weights_count_as_those_without():
    """A KeypointConverter's are of shape (1, K, 2)."""
    found = []
    for visible in (np.array([[1, 1, 0, 1]]), np.array([[[1, 1], [1, 0], [0, 1], [1, 1]]])):
        metric = KeypointErrorTypes()
        metric.dataset_meta = dict(flip_indices=FLIP, skeleton_links=LINKS)
        truth = dict(
            keypoints=TRUTH[None], keypoints_visible=visible, bboxes=np.array([[0, 0, 50, 100.0]])
        )
        predicted = dict(keypoints=TRUTH[None] + [[[0, 0], [30, 0], [50, 0], [0, 0]]])
        metric.process(None, [dict(gt_instances=truth, pred_instances=predicted)])
        found.append(metric.evaluate(1))
    assert found[0] == found[1] and found[0]["errors/correct"] == pytest.approx(2 / 3)

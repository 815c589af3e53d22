# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from sgpose.evaluation import guides_at_keypoints
from sgpose.evaluation.guides_at_keypoints import points_in_map, values_at
from sgpose.visualization import guide_maps_in_image

METAINFO = dict(flip_indices=[1, 0, 2], skeleton_links=[(0, 2)])


@given(seed=st.integers(0, 2**32 - 1))
def test_values_are_scipys(seed):
    rng = np.random.default_rng(seed)
    maps = rng.random((3, *rng.integers(2, 12, 2)))
    height, width = maps.shape[1:]
    points = rng.uniform(-2, 14, (5, 2))
    expected = [
        map_coordinates(
            one, [points[:, 1].clip(0, height - 1), points[:, 0].clip(0, width - 1)], order=1
        )
        for one in maps
    ]
    # OpenCV rounds the place to 1/32 of a cell
    np.testing.assert_allclose(values_at(maps, points), expected, atol=1 / 16)


def test_points_lie_where_the_painted_map_has_them():
    maps = np.zeros((1, 1, 8, 6))
    maps[..., 5, 2] = 1
    center, scale = np.array([70.0, 60.0]), np.array([60.0, 80.0])
    painted, _ = guide_maps_in_image(maps, center[None], scale[None], (120, 140))
    row, column = np.unravel_index(painted[0].argmax(), painted[0].shape)
    np.testing.assert_allclose(points_in_map([column, row], center, scale, (6, 8)), [2, 5])


def sample(guide_maps=True):
    """A crop of 40x40 pixels at (100, 100), two maps of 4x4, one of which grows to the right."""
    maps = np.stack([np.tile(np.arange(4) / 4, (4, 1)), np.full((4, 4), 0.5)])
    predicted = dict(keypoints=np.array([[[110.0, 100.0], [90.0, 100.0], [100.0, 90.0]]]))
    if guide_maps:
        predicted |= dict(
            guide_maps=maps[None],
            guide_input_center=np.array([[100.0, 100.0]]),
            guide_input_scale=np.array([[40.0, 40.0]]),
        )
    truth = dict(
        keypoints=np.array([[[90.0, 100.0], [90.0, 100.0], [100.0, 90.0]]]),
        keypoints_visible=np.array([[1, 1, 0]]),
        bboxes=np.array([[80.0, 80.0, 120.0, 120.0]]),
    )
    return dict(gt_instances=truth, pred_instances=predicted)


def test_a_hand_worked_person():
    types, at_truth, at_prediction = guides_at_keypoints(sample(), METAINFO)
    assert types.tolist() == [4, 0, -1]
    # x = 90 is column (90 - 80) / 10 = 1, x = 110 column 3
    np.testing.assert_allclose(at_truth, [[0.25, 0.25, 0.5], [0.5, 0.5, 0.5]])
    np.testing.assert_allclose(at_prediction, [[0.75, 0.25, 0.5], [0.5, 0.5, 0.5]])


def test_a_prediction_without_maps_is_refused():
    with pytest.raises(ValueError, match="test_cfg.output_heatmaps=True"):
        guides_at_keypoints(sample(guide_maps=False), METAINFO)

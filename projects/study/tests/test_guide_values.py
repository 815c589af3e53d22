# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from projects.study.guide_values import guides_at_keypoints, points_in_map, values_at
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
    """A crop of 60x40 pixels at (100, 50), maps of 6x8 that grow to the right and downwards."""
    rows, columns = np.mgrid[:8, :6] / 8
    truth = np.array([[[90.0, 50.0], [90.0, 50.0], [100.0, 40.0]]])
    predicted = dict(keypoints=truth + [[30.0, 5.0], [0.0, 0.0], [0.0, 0.0]])
    if guide_maps:
        predicted |= dict(
            guide_maps=np.stack([columns, rows])[None],
            guide_input_center=np.array([[100.0, 50.0]]),
            guide_input_scale=np.array([[60.0, 40.0]]),
        )
    truth = dict(
        keypoints=truth,
        keypoints_visible=np.array([[1, 1, 0]]),
        bboxes=np.array([[70.0, 30.0, 130.0, 70.0]]),
    )
    return dict(gt_instances=truth, pred_instances=predicted)


def test_a_hand_worked_person():
    types, at_truth, at_prediction = guides_at_keypoints(sample(), METAINFO)
    assert types.tolist() == [4, 0, -1]
    # ten pixels a column from x = 70, five a row from y = 30: (90, 50) is (2, 4), (120, 55) (5, 5)
    np.testing.assert_allclose(at_truth * 8, [[2, 2, 3], [4, 4, 2]])
    np.testing.assert_allclose(at_prediction * 8, [[5, 2, 3], [5, 4, 2]])


def test_a_prediction_without_maps_is_refused():
    with pytest.raises(ValueError, match="test_cfg.output_heatmaps=True"):
        guides_at_keypoints(sample(guide_maps=False), METAINFO)

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpose.visualization import guide_maps_in_image, paint_map
from sgpose.visualization.attention import map_in_crop, paint_mask


@given(
    column=st.integers(1, 10),
    row=st.integers(1, 14),
    center=st.tuples(st.floats(40, 80), st.floats(50, 90)),
    height=st.floats(60, 160),
)
def test_a_hot_cell_lies_where_its_crop_says(column, row, center, height):
    maps = np.zeros((1, 2, 16, 12), np.float32)
    maps[0, 1, row, column] = 1
    scale = (0.75 * height, height)
    merged, inside = guide_maps_in_image(maps, [center], [scale], (140, 120))
    assert merged.shape == (2, 140, 120) and inside.shape == (140, 120)
    assert not merged[0].any()
    x = center[0] + (column / 12 - 0.5) * scale[0]
    y = center[1] + (row / 16 - 0.5) * scale[1]
    if not (8 <= x < 112 and 8 <= y < 132):
        return  # cut off at the border
    values = merged[1].astype(float)
    found = (values.sum(0) @ np.arange(120), values.sum(1) @ np.arange(140)) / values.sum()
    np.testing.assert_allclose(found, (x, y), atol=0.3)
    assert inside[round(y), round(x)] == pytest.approx(1, abs=1e-3)


def test_persons_share_the_image_by_the_larger_value():
    maps = np.stack([np.full((1, 8, 6), 0.25), np.full((1, 8, 6), 0.75)])
    centers, scales = [(30, 40), (54, 40)], [(48, 64), (48, 64)]
    merged, inside = guide_maps_in_image(maps, centers, scales, (80, 120))
    assert merged[0, 40, 15] == pytest.approx(0.25)  # the first alone
    assert merged[0, 40, 45] == pytest.approx(0.75)  # both
    assert merged[0, 40, 100] == inside[40, 100] == 0  # neither
    assert inside[40, 15] == inside[40, 45] == 1


def test_no_person_at_all():
    merged, inside = guide_maps_in_image(
        np.zeros((0, 4, 8, 6)), np.zeros((0, 2)), np.zeros((0, 2)), (20, 30)
    )
    assert merged.shape == (4, 20, 30) and not merged.any() and not inside.any()


def test_a_map_is_enlarged_by_the_codecs_scale():
    values = np.zeros((5, 4))
    values[3, 1] = 1
    large = map_in_crop(values, (16, 20), np.array([4, 4]), cv2.INTER_NEAREST)
    ys, xs = np.nonzero(large)
    # the cells whose centre 4 * (1, 3) is the nearest one
    assert set(xs) <= set(range(2, 7)) and set(ys) <= set(range(10, 15))
    assert large[12, 4] == 1 and large.sum() == 16
    smooth = map_in_crop(values, (16, 20), np.array([4, 4]), cv2.INTER_LINEAR)
    assert np.unravel_index(smooth.argmax(), smooth.shape) == (12, 4)
    assert smooth[12, 6] == pytest.approx(0.5)


def test_paint_goes_from_black_to_yellow_and_spares_what_is_outside():
    image = np.full((2, 3, 3), 100, np.uint8)
    values = np.array([[0, 0.5, 1], [0, 0.5, 1]])
    inside = np.array([[1, 1, 1], [0, 0, 0]])
    painted = paint_map(image, values, inside, alpha=0.5)
    np.testing.assert_array_equal(painted[1], image[1])
    inferno = np.array([[0, 0, 4], [188, 55, 84], [252, 255, 164]])  # matplotlib's, at 0, 1/2, 1
    np.testing.assert_allclose(painted[0], (100 + inferno) / 2, atol=2)
    np.testing.assert_array_equal(paint_map(image, values, alpha=0.5)[1], painted[0])


def test_a_mask_brightens_and_darkens():
    image = np.full((1, 2, 3), 100, np.uint8)
    np.testing.assert_array_equal(paint_mask(image, np.array([[0, 1]])), [[[25] * 3, [162] * 3]])

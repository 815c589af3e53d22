# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpose.registry import KEYPOINT_CODECS

from projects.limb_guides import limb_capsules

INPUT, MAP = (192, 256), (48, 64)
MSRA = dict(type="MSRAHeatmap", input_size=INPUT, heatmap_size=MAP, sigma=2)
coordinates = st.floats(-30, 60, width=32)


def build(codec, **kwargs):
    return KEYPOINT_CODECS.build(dict(type="LimbTarget", codec=codec, **kwargs))


def reference_limb(start, end, size, radius):
    """Go through the pixels; the nearest point of the line is found by its ends and its foot."""
    mask = np.zeros(size[::-1], dtype=np.float32)
    along = end - start
    for row in range(size[1]):
        for column in range(size[0]):
            p = np.array([column, row], dtype=np.float64)
            near = [start, end]
            if along.any():
                foot = start + along * np.dot(p - start, along) / np.dot(along, along)
                if np.dot(foot - start, foot - end) <= 0:
                    near.append(foot)
            distance = min(math.dist(p, q) for q in near)
            if abs(distance - radius) < 1e-6:
                mask[row, column] = np.nan  # on the edge: rounding decides
            else:
                mask[row, column] = distance < radius
    return mask


@given(
    st.tuples(*[st.tuples(coordinates, coordinates, st.sampled_from([0.0, 0.4, 0.5, 1.0]))] * 3),
    st.integers(1, 13),
    st.integers(1, 9),
    st.floats(0.25, 12),
)
def test_limbs_equal_the_per_pixel_reference(points, width, height, radius):
    keypoints = np.array([p[:2] for p in points], dtype=np.float64)
    visible = np.array([p[2] for p in points])
    links = [(0, 1), (1, 2), (2, 2)]
    maps = limb_capsules(keypoints, visible, links, (width, height), radius)
    assert maps.shape == (3, height, width) and maps.dtype == np.float32
    for found, (a, b) in zip(maps, links):
        expected = reference_limb(keypoints[a], keypoints[b], (width, height), radius)
        expected *= float(min(visible[a], visible[b]) >= 0.5)
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(found[known], expected[known])


def test_limbs_of_several_persons_come_from_the_skeleton():
    inner = dict(type="AssociativeEmbedding", input_size=INPUT, heatmap_size=MAP, sigma=2)
    codec = build(inner, radius=2.0)
    assert codec.auxiliary_encode_keys == {"skeleton_links"}
    keypoints = np.array([[[8, 8], [80, 8], [8, 80]], [[100, 100], [180, 100], [100, 200]]], float)
    links = [(0, 1), (0, 2)]
    found = codec.encode(keypoints, np.ones((2, 3)), skeleton_links=links)
    each = [limb_capsules(person / 4, np.ones(3), links, MAP, 2.0) for person in keypoints]
    np.testing.assert_array_equal(found["segmentation"], np.maximum(*each))
    assert found["segmentation"].shape == (2, 64, 48) and found["segmentation"].sum() > 0
    plain = KEYPOINT_CODECS.build(inner).encode(keypoints, np.ones((2, 3)))
    np.testing.assert_array_equal(found["heatmaps"], plain["heatmaps"])


def test_links_that_are_given_take_the_place_of_the_datasets():
    codec = build(MSRA, radius=2.0, links=[(2, 0)])
    assert codec.auxiliary_encode_keys == set()
    keypoints = np.array([[[8.0, 8], [80, 8], [8, 80]]])
    found = codec.encode(keypoints, np.ones((1, 3)), skeleton_links=[(0, 1), (0, 2)])
    expected = limb_capsules(keypoints[0] / 4, np.ones(3), [(2, 0)], MAP, 2.0)
    np.testing.assert_array_equal(found["segmentation"], expected)
    with pytest.raises(ValueError, match=r"CombinedDataset .* LimbTarget\(links=...\)"):
        build(MSRA, links=[(0, 3)]).encode(keypoints, np.ones((1, 3)))


def test_limbs_need_a_skeleton():
    with pytest.raises(ValueError, match="metainfo has none: add skeleton_info"):
        build(MSRA).encode(np.ones((1, 3, 2)), np.ones((1, 3)), skeleton_links=[])


def test_limbs_by_hand():
    points = np.array([[2.0, 3], [7, 3], [4, 1], [4, 6], [np.nan, 1], [8, 5]])
    links = [(0, 1), (2, 3), (1, 4), (5, 5)]
    level, upright, none, dot = limb_capsules(points, np.ones(6), links, (10, 8), 1.2)
    expected = np.zeros((8, 10))
    expected[2:5, 2:8] = expected[3, 1] = expected[3, 8] = 1
    np.testing.assert_array_equal(level, expected)
    expected = np.zeros((8, 10))
    expected[1:7, 3:6] = expected[0, 4] = expected[7, 4] = 1
    np.testing.assert_array_equal(upright, expected)
    assert not none.any() and dot.sum() == 5
    thin = limb_capsules(points, np.ones(6), links[:1], (10, 8), 1)[0]
    assert thin.sum() == 6, "the boundary does not belong to the limb"


def test_links_beyond_the_keypoints_are_refused():
    for links in ([(0, 3)], [(-1, 0)]):
        with pytest.raises(ValueError, match="there are 3 keypoints, counted from 0"):
            limb_capsules(np.ones((3, 2)), np.ones(3), links, MAP, 2)
    assert limb_capsules(np.ones((3, 2)), np.ones(3), [], MAP, 2).shape == (0, 64, 48)
    assert limb_capsules(np.ones((3, 2)), np.ones(3), [(2, 2)], MAP, 2).sum() == 9

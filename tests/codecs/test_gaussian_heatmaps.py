# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpose.codecs import MSRAHeatmap
from mmpose.codecs.utils.gaussian_heatmap import (
    generate_gaussian_heatmaps,
    generate_unbiased_gaussian_heatmaps,
)
from mmpose.registry import KEYPOINT_CODECS

from sgpose.codecs import FastMSRAHeatmap, gaussian_heatmaps, unbiased_gaussian_heatmaps

PAIRS = {
    "cut": (gaussian_heatmaps, generate_gaussian_heatmaps),
    "unbiased": (unbiased_gaussian_heatmaps, generate_unbiased_gaussian_heatmaps),
}
coordinate = st.one_of(
    st.floats(-40, 60, width=32),
    st.integers(-80, 120).map(lambda i: i / 2),  # halves, where rounding decides
    st.sampled_from([np.nan, np.inf, -np.inf, 1e12, -1e12]),
)
visibility = st.sampled_from([0.0, 0.4999, 0.5, 1.0, 2.0, np.nan])
sigmas = st.one_of(st.sampled_from([1, 2, 3]), st.floats(0.3, 6))
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")


@pytest.mark.parametrize("name", PAIRS)
@given(
    points=st.lists(st.tuples(coordinate, coordinate, visibility), max_size=5),
    size=st.tuples(st.integers(1, 20), st.integers(1, 25)),
    sigma=sigmas,
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_heatmaps_and_weights_are_mmposes_bit_for_bit(name, points, size, sigma, dtype):
    ours, theirs = PAIRS[name]
    keypoints = np.array([p[:2] for p in points], dtype=dtype).reshape(-1, 2)
    visible = np.array([p[2] for p in points], dtype=np.float32)
    given = keypoints.copy(), visible.copy()
    heatmaps, weights = ours(keypoints, visible, size, sigma)
    expected, expected_weights = theirs(size, keypoints[None], visible[None], sigma)
    assert heatmaps.dtype == np.float32 and weights.dtype == visible.dtype
    np.testing.assert_array_equal(heatmaps, expected)
    np.testing.assert_array_equal(weights, expected_weights[0])
    np.testing.assert_array_equal(keypoints, given[0])
    np.testing.assert_array_equal(visible, given[1])


def test_cut_heatmap_by_hand():
    # centre (1.6, 0.4) is pixel (2, 0); sigma 1 reaches 3 pixels, so column 6 stays empty
    heatmaps, weights = gaussian_heatmaps(np.array([[1.6, 0.4]]), np.ones(1), (7, 2), 1)
    expected = np.exp(-np.array([[4, 1, 0, 1, 4, 9], [5, 2, 1, 2, 5, 10]]) / 2)
    np.testing.assert_allclose(heatmaps[0, :, :6], expected, rtol=1e-6)
    assert not heatmaps[0, :, 6].any() and weights.tolist() == [1]


def test_a_gaussian_outside_the_map_gets_no_weight():
    points = np.array([[-10.0, 3], [12, 3], [3, -10], [3, 14], [3, 3]])
    for draw in (gaussian_heatmaps, unbiased_gaussian_heatmaps):
        heatmaps, weights = draw(points, np.ones(5), (5, 6), 2)
        assert weights.tolist() == [0, 0, 0, 0, 1]
        assert heatmaps.any(axis=(1, 2)).tolist() == [False] * 4 + [True]


def test_results_are_the_callers_own():
    keypoints, visible = np.array([[3.0, 3.0]]), np.ones(1)
    first, _ = gaussian_heatmaps(keypoints, visible, (7, 7), 1)
    first[:] = 5
    second, _ = gaussian_heatmaps(keypoints, visible, (7, 7), 1)
    assert second.max() == 1


@pytest.mark.parametrize("unbiased", [False, True])
@given(seed=st.integers(0, 2**32 - 1), visible=st.booleans())
def test_codec_encodes_and_decodes_as_mmposes(unbiased, seed, visible):
    rng = np.random.default_rng(seed)
    args = dict(input_size=(96, 128), heatmap_size=(24, 32), sigma=2, unbiased=unbiased)
    ours = KEYPOINT_CODECS.build(dict(args, type="FastMSRAHeatmap"))
    theirs = MSRAHeatmap(**args)
    keypoints = rng.uniform(-40, 160, (1, 6, 2)).astype(np.float32)
    visibility = rng.choice([0, 1], (1, 6)).astype(np.float32) if visible else None
    encoded = ours.encode(keypoints, visibility)
    expected = theirs.encode(keypoints, visibility)
    assert list(encoded) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(encoded[key], value)
        assert encoded[key].dtype == value.dtype
    for a, b in zip(ours.decode(encoded["heatmaps"]), theirs.decode(encoded["heatmaps"])):
        np.testing.assert_array_equal(a, b)


def test_what_mmpose_refuses_is_refused_and_its_rare_sigmas_work():
    codec = FastMSRAHeatmap(input_size=(16, 16), heatmap_size=(4, 4), sigma=1)
    with pytest.raises(AssertionError, match="only support single-instance"):
        codec.encode(np.zeros((2, 3, 2)))
    args = dict(input_size=(16, 16), heatmap_size=(4, 4), sigma=(1,))
    keypoints = np.full((1, 1, 2), 8.0)
    np.testing.assert_array_equal(
        FastMSRAHeatmap(**args).encode(keypoints)["heatmaps"],
        MSRAHeatmap(**args).encode(keypoints)["heatmaps"],
    )


@pytest.mark.parametrize("name", ["MSRAHeatmap", "mmpose.MSRAHeatmap", MSRAHeatmap])
def test_the_mask_codec_uses_it_for_plain_msra_heatmaps_only(name):
    codec = dict(type=name, input_size=(16, 16), heatmap_size=(4, 4), sigma=1, unbiased=True)
    wrapper = KEYPOINT_CODECS.build(dict(type="SegmentationTarget", codec=codec))
    assert type(wrapper.codec) is FastMSRAHeatmap and wrapper.codec.unbiased
    assert codec["type"] is name

    class Mine(MSRAHeatmap):
        pass

    wrapper = KEYPOINT_CODECS.build(dict(type="SegmentationTarget", codec=dict(codec, type=Mine)))
    assert type(wrapper.codec) is Mine

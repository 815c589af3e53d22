# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpose.codecs import MSRAHeatmap, SimCCLabel, UDPHeatmap
from mmpose.models.utils.tta import flip_heatmaps

from sgpose.deploy import decoding

WIDTH, HEIGHT = 12, 16
SIZES = dict(input_size=(WIDTH * 4, HEIGHT * 4), heatmap_size=(WIDTH, HEIGHT))
CODECS = [
    MSRAHeatmap(**SIZES, sigma=2, unbiased=False),
    MSRAHeatmap(**SIZES, sigma=2, unbiased=True),
    MSRAHeatmap(**SIZES, sigma=2, unbiased=True, blur_kernel_size=5),
    UDPHeatmap(**SIZES, sigma=2),
    UDPHeatmap(**SIZES, sigma=2, blur_kernel_size=17),
]


def described(codec) -> dict:
    return dict(
        type=type(codec).__name__,
        unbiased=getattr(codec, "unbiased", None),
        blur_kernel_size=codec.blur_kernel_size,
    )


def gaussians(seed: int, persons: int, keypoints: int) -> np.ndarray:
    """Heatmaps with one clear peak each, also at and beyond the border, over a little noise."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    at = rng.uniform((-1, -1), (WIDTH, HEIGHT), (persons, keypoints, 2))[..., None, None]
    distance = (x - at[:, :, 0]) ** 2 + (y - at[:, :, 1]) ** 2
    heatmaps = np.exp(-distance / 8) * rng.uniform(0.1, 1, (persons, keypoints, 1, 1))
    return (heatmaps + rng.normal(0, 0.003, heatmaps.shape)).astype(np.float32)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: str(described(codec)))
@given(seed=st.integers(0, 10**6), persons=st.integers(1, 4), keypoints=st.integers(1, 5))
@settings(max_examples=20)
def test_heatmaps_are_decoded_as_by_mmpose(codec, seed, persons, keypoints):
    heatmaps = gaussians(seed, persons, keypoints)
    given_maps = heatmaps.copy()
    found, scores = decoding.decode_heatmaps(given_maps, described(codec), SIZES["input_size"])
    np.testing.assert_array_equal(given_maps, heatmaps)
    for person in range(persons):
        expected, expected_scores = codec.decode(heatmaps[person])
        np.testing.assert_allclose(found[person], expected[0], atol=2e-3)
        np.testing.assert_array_equal(scores[person], expected_scores[0])


@pytest.mark.parametrize("codec", CODECS[:3], ids=lambda codec: str(described(codec)))
def test_without_any_positive_value_there_is_no_place(codec):
    heatmaps = -np.random.default_rng(0).uniform(0.1, 1, (2, 3, HEIGHT, WIDTH)).astype(np.float32)
    found, scores = decoding.decode_heatmaps(heatmaps, described(codec), SIZES["input_size"])
    np.testing.assert_array_equal(found, np.full((2, 3, 2), -4.0))
    np.testing.assert_array_equal(scores, heatmaps.max(axis=(2, 3)))
    np.testing.assert_allclose(found[0], codec.decode(heatmaps[0])[0][0])


def test_udp_places_of_negative_maps_are_mmposes():
    codec = CODECS[3]
    heatmaps = gaussians(0, 2, 3)
    heatmaps[:, 1] = -0.1
    found, _ = decoding.decode_heatmaps(heatmaps, described(codec), SIZES["input_size"])
    for person in range(2):
        expected = codec.decode(heatmaps[person])[0][0]
        np.testing.assert_allclose(found[person, [0, 2]], expected[[0, 2]], atol=2e-3)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("indices", [None, [1, 0, 2]])
def test_mirrored_heatmaps_are_turned_back_as_by_mmpose(shift, indices):
    heatmaps = gaussians(1, 2, 3)
    expected = flip_heatmaps(torch.from_numpy(heatmaps), indices, shift_heatmap=shift)
    np.testing.assert_array_equal(
        decoding.mirror_heatmaps(heatmaps, indices, shift), expected.numpy()
    )


@given(seed=st.integers(0, 10**6), ratio=st.sampled_from([1.0, 2.0, 3.0]))
def test_simcc_is_decoded_as_by_mmpose(seed, ratio):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (2, 3, int(48 * ratio))).astype(np.float32)
    y = rng.normal(0, 1, (2, 3, int(64 * ratio))).astype(np.float32)
    x[0, 0] -= 10  # nothing positive along one axis
    codec = SimCCLabel(input_size=(48, 64), simcc_split_ratio=ratio)
    found, scores = decoding.decode_simcc(x, y, ratio)
    expected, expected_scores = codec.decode(x, y)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(scores, expected_scores)


@given(st.lists(st.floats(-3, 3), min_size=5, max_size=5))
def test_a_newton_step_leads_to_the_stationary_point(values):
    dx, dy, dxx, dxy, dyy = (np.array([value], np.float32) for value in values)
    step = decoding.newton_step(dx, dy, dxx, dxy, dyy)[0]
    hessian = np.array([[dxx[0], dxy[0]], [dxy[0], dyy[0]]], np.float64)
    determinant = np.linalg.det(hessian)
    if abs(determinant) > 1e-3:
        gradient = np.array([dx[0], dy[0]], np.float64)
        np.testing.assert_allclose(hessian @ step, -gradient, atol=1e-6)
    elif determinant == 0:
        np.testing.assert_array_equal(step, 0)


def test_where_the_parabola_is_flat_there_is_no_step():
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    np.testing.assert_array_equal(decoding.newton_step(one, one, one, one, one), [[0, 0]])
    np.testing.assert_array_equal(decoding.newton_step(one, one, zero, zero, one), [[0, 0]])

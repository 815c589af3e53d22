# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpose.codecs import MSRAHeatmap, RegressionLabel, SimCCLabel, UDPHeatmap

from sgpose.deploy.decoders import Decoder, newton_step

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


def decode(codec: dict, *outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    decoder = Decoder(codec, SIZES["input_size"])
    return tuple(x.numpy() for x in decoder(*map(torch.from_numpy, outputs)))


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
    found, scores = decode(described(codec), given_maps)
    np.testing.assert_array_equal(given_maps, heatmaps)
    for person in range(persons):
        expected, expected_scores = codec.decode(heatmaps[person])
        np.testing.assert_allclose(found[person], expected[0], atol=2e-3)
        np.testing.assert_array_equal(scores[person], expected_scores[0])


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: str(described(codec)))
def test_maps_of_zeros_give_finite_places_and_no_score(codec):
    found, scores = decode(described(codec), np.zeros((1, 2, HEIGHT, WIDTH), np.float32))
    assert np.isfinite(found).all() and (found < 0).all() and (scores == 0).all()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: str(described(codec)))
def test_a_peak_that_the_blur_sinks_below_zero_is_decoded_as_by_mmpose(codec):
    heatmaps = np.full((1, 2, HEIGHT, WIDTH), -0.1, np.float32)
    heatmaps += np.random.default_rng(0).normal(0, 0.01, heatmaps.shape).astype(np.float32)
    heatmaps[0, 0, 7, 5] = heatmaps[0, 1, 9, 6] = 0.02
    found, _ = decode(described(codec), heatmaps)
    expected = codec.decode(heatmaps[0])[0]
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("codec", CODECS[:3], ids=lambda codec: str(described(codec)))
def test_without_any_positive_value_there_is_no_place(codec):
    heatmaps = -np.random.default_rng(0).uniform(0.1, 1, (2, 3, HEIGHT, WIDTH)).astype(np.float32)
    found, scores = decode(described(codec), heatmaps)
    np.testing.assert_array_equal(found, np.full((2, 3, 2), -4.0))
    np.testing.assert_array_equal(scores, heatmaps.max(axis=(2, 3)))
    np.testing.assert_allclose(found[0], codec.decode(heatmaps[0])[0][0])


def test_udp_places_of_negative_maps_are_mmposes():
    codec = CODECS[3]
    heatmaps = gaussians(0, 2, 3)
    heatmaps[:, 1] = -0.1
    found, _ = decode(described(codec), heatmaps)
    for person in range(2):
        expected = codec.decode(heatmaps[person])[0][0]
        np.testing.assert_allclose(found[person, [0, 2]], expected[[0, 2]], atol=2e-3)


def test_quarter_offsets_are_mmposes_at_borders_and_for_negative_maps():
    heatmaps = np.random.default_rng(1).normal(0, 1, (300, 2, 5, 4)).astype(np.float32)
    heatmaps[::7] -= 9
    codec = MSRAHeatmap(input_size=(16, 20), heatmap_size=(4, 5), sigma=2)
    found, scores = Decoder(described(codec), (16, 20))(torch.from_numpy(heatmaps))
    expected, expected_scores = map(np.concatenate, zip(*map(codec.decode, heatmaps)))
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("values", [2, 4])
def test_regressed_coordinates_are_decoded_as_by_mmpose(values):
    coords = np.random.default_rng(0).uniform(-0.2, 1.2, (3, 1, 5, values)).astype(np.float32)
    found, scores = decode(dict(type="RegressionLabel"), coords)
    codec = RegressionLabel(input_size=SIZES["input_size"])
    for person in range(3):
        expected, expected_scores = codec.decode(coords[person])
        np.testing.assert_allclose(found[person], expected[0], rtol=1e-5)
        np.testing.assert_allclose(scores[person], expected_scores[0], rtol=1e-5)


@given(seed=st.integers(0, 10**6), ratio=st.sampled_from([1.0, 2.0, 3.0]))
def test_simcc_is_decoded_as_by_mmpose(seed, ratio):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (2, 3, int(48 * ratio))).astype(np.float32)
    y = rng.normal(0, 1, (2, 3, int(64 * ratio))).astype(np.float32)
    x[0, 0] -= 10  # nothing positive along one axis
    codec = SimCCLabel(input_size=(48, 64), simcc_split_ratio=ratio)
    found, scores = decode(dict(type="SimCCLabel", split_ratio=ratio), x, y)
    expected, expected_scores = codec.decode(x, y)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(scores, expected_scores)


@given(st.lists(st.floats(-3, 3, width=32), min_size=5, max_size=5))
def test_a_newton_step_leads_to_the_stationary_point(values):
    dx, dy, dxx, dxy, dyy = (torch.tensor([value], dtype=torch.float64) for value in values)
    step = newton_step(dx, dy, dxx, dxy, dyy)[0].numpy()
    hessian = np.array([[values[2], values[3]], [values[3], values[4]]])
    determinant = np.linalg.det(hessian)
    if abs(determinant) > 1e-3:
        np.testing.assert_allclose(hessian @ step, -np.array(values[:2]), atol=1e-6)
    elif values[2] * values[4] - values[3] ** 2 == 0:
        np.testing.assert_array_equal(step, 0)


def test_where_the_parabola_is_flat_there_is_no_step():
    one, zero = torch.ones(1), torch.zeros(1)
    np.testing.assert_array_equal(newton_step(one, one, one, one, one), [[0, 0]])
    np.testing.assert_array_equal(newton_step(one, one, zero, zero, one), [[0, 0]])

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Laws that hold for any input, on top of those beside the single modules."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmpose.registry import KEYPOINT_CODECS, MODELS

from sgpose.codecs import keypoint_discs
from sgpose.models.layers import SegmentationGuidedModule
from sgpose.models.losses import dwa_weights

INPUT, MAP = (192, 256), (48, 64)
SCALES = dict(msra=np.array([4.0, 4.0]), udp=np.array([191 / 47, 255 / 63]))
visibilities = arrays(np.float32, 7, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))


def codec(name: str, **kwargs):
    inner = dict(
        type="UDPHeatmap" if name == "udp" else "MSRAHeatmap",
        input_size=INPUT,
        heatmap_size=MAP,
        sigma=2,
        **kwargs,
    )
    return KEYPOINT_CODECS.build(dict(type="SegmentationTarget", codec=inner, radius=4.3))


def points(low=-40.0, high=296.0):
    return arrays(np.float64, (7, 2), elements=st.floats(low, high, width=32))


@pytest.mark.parametrize(
    "name, kwargs, tolerance",
    [
        ("msra", dict(unbiased=True), 0.01),
        ("udp", {}, 0.25),  # smoothed before its peak is refined
        ("msra", {}, 0.51),  # drawn around a whole pixel
    ],
    ids=["dark", "udp", "msra"],
)
@settings(max_examples=25)
@given(keypoints=points(24, 168))
def test_decoding_what_was_encoded_gives_the_keypoints(name, kwargs, tolerance, keypoints):
    target = codec(name, **kwargs)
    heatmaps = target.encode(keypoints[None], np.ones((1, 7), np.float32))["heatmaps"]
    decoded, scores = target.decode(heatmaps)
    # in pixels of the heatmap
    assert np.abs(decoded[0] - keypoints).max() / 4 < tolerance
    assert (scores > 0.5).all()


@pytest.mark.parametrize("name", SCALES)
@settings(max_examples=25)
@given(keypoints=points(), visible=visibilities)
def test_the_mask_of_a_mirrored_person_is_the_mirrored_mask(name, keypoints, visible):
    target, scale = codec(name), SCALES[name]
    # the line about which the maps are mirrored: the picture's middle for UDP, else half a stride
    # less half a pixel to its left, for which MMPose shifts heatmaps in flip tests
    mirrored = np.stack([47 * scale[0] - keypoints[:, 0], keypoints[:, 1]], axis=1)
    assert (47 * scale[0] == 191) == (name == "udp")
    keep = _away_from_borders(keypoints / scale)
    mask, other = (
        target.encode(x[None, keep], visible[None, keep])["segmentation"][0]
        for x in (keypoints, mirrored)
    )
    np.testing.assert_array_equal(other, mask[:, ::-1])


def _away_from_borders(keypoints: np.ndarray, radius: float = 4.3) -> np.ndarray:
    """Leave out discs so close to a pixel's centre that rounding decides about it."""
    grid = np.stack(np.meshgrid(np.arange(-20, 90), np.arange(-20, 90)), axis=-1).reshape(-1, 2)
    distance = np.linalg.norm(grid[None] - keypoints[:, None], axis=2)
    return (np.abs(distance - radius) > 1e-4).all(axis=1)


@settings(max_examples=25)
@given(keypoints=points(-5, 60), visible=visibilities, turns=st.integers(1, 3))
def test_the_mask_of_a_turned_person_is_the_turned_mask(keypoints, visible, turns):
    keypoints = keypoints[_away_from_borders(keypoints)]
    visible = visible[: len(keypoints)]
    mask, size, turned = keypoint_discs(keypoints, visible, MAP, 4.3), MAP, keypoints
    for _ in range(turns):  # a quarter to the left: the top right corner becomes the top left
        turned = np.stack([turned[:, 1], size[0] - 1 - turned[:, 0]], axis=1)
        size = size[::-1]
    np.testing.assert_array_equal(keypoint_discs(turned, visible, size, 4.3), np.rot90(mask, turns))


@settings(max_examples=25)
@given(keypoints=points(-5, 60), visible=visibilities, order=st.permutations(range(7)))
def test_a_mask_grows_with_keypoints_and_radius_and_knows_no_order(keypoints, visible, order):
    mask = keypoint_discs(keypoints, visible, MAP, 4.0)
    np.testing.assert_array_equal(keypoint_discs(keypoints[order], visible[order], MAP, 4.0), mask)
    assert (keypoint_discs(keypoints[:4], visible[:4], MAP, 4.0) <= mask).all()
    assert (mask <= keypoint_discs(keypoints, visible, MAP, 4.5)).all()


loss = st.floats(1e-3, 1e3)
factor = st.floats(0.01, 100)


@given(st.lists(st.tuples(loss, loss, factor), min_size=1, max_size=5), st.floats(0.5, 5))
def test_weights_do_not_depend_on_the_scale_of_any_loss(rows, temperature):
    latest, previous, factors = torch.tensor(rows, dtype=torch.float64).T
    weights = dwa_weights(latest, previous, temperature)
    scaled = dwa_weights(latest * factors, previous * factors, temperature)
    torch.testing.assert_close(scaled, weights, rtol=1e-6, atol=1e-9)


@given(st.lists(st.tuples(factor, factor), min_size=1, max_size=5))
def test_weights_are_positive_and_sum_to_the_number_of_tasks(rows):
    """For losses that change by less than a factor of a hundred; beyond, exp underflows to 0."""
    previous = torch.ones(len(rows), dtype=torch.float64)
    weights = dwa_weights(torch.tensor([r[0] for r in rows]).double(), previous)
    assert (weights > 0).all() and weights.sum().item() == pytest.approx(len(rows))


@settings(max_examples=25)
@given(
    st.lists(st.tuples(loss, loss, loss), min_size=3, max_size=6),
    st.permutations(["a", "b", "c"]),
    st.tuples(*[st.sampled_from([2.0**k for k in range(-6, 7)])] * 3),
    st.integers(1, 2),
)
def test_a_history_knows_no_order_and_no_scale(steps, order, factors, interval):
    build = dict(type="DynamicWeightAverage", interval=interval)
    one = MODELS.build(dict(build, tasks="abc"))
    other = MODELS.build(dict(build, tasks=order))
    for step in steps:
        ones = dict(zip("abc", map(torch.tensor, step)))
        one(ones)
        # powers of two scale without rounding
        scaled = {name: ones[name] * factors["abc".index(name)] for name in order}
        other(dict(reversed(scaled.items())))
    weights, others = one.weights(), other.weights()
    for name in "abc":
        torch.testing.assert_close(others[name], weights[name], rtol=1e-5, atol=1e-6)


@settings(max_examples=20)
@given(st.integers(1, 48), st.floats(0.01, 10), st.integers(0, 2**31 - 1))
def test_folding_keeps_the_logits_in_float32(channels, spread, seed):
    torch.manual_seed(seed)
    module = SegmentationGuidedModule(channels, init_bias=-3.0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=spread / channels**0.5)
    x = torch.randn(1, channels, 9, 7)
    with torch.no_grad():
        expected = module.predict(x)
        exact = module.double().predict(x.double()).float()
        module.float().fold()
        folded = module.predict(x)
    largest = expected.abs().max().item()
    torch.testing.assert_close(folded, expected, rtol=0, atol=1e-5 * largest)
    torch.testing.assert_close(folded, exact, rtol=0, atol=1e-5 * largest)

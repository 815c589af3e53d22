# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpose.registry import KEYPOINT_CODECS

from sgpose.codecs import keypoint_discs

INPUT, MAP = (192, 256), (48, 64)
MSRA = dict(type="MSRAHeatmap", input_size=INPUT, heatmap_size=MAP, sigma=2)
UDP = dict(type="UDPHeatmap", input_size=INPUT, heatmap_size=MAP, sigma=2)
UDP_COMBINED = dict(UDP, heatmap_type="combined")
MEGVII = dict(type="MegviiHeatmap", input_size=INPUT, heatmap_size=MAP, kernel_size=11)
SIMCC = dict(type="SimCCLabel", input_size=INPUT, sigma=6.0, simcc_split_ratio=2.0)
CODECS = {
    "msra": MSRA,
    "dark": dict(MSRA, unbiased=True),
    "udp": UDP,
    "udp-combined": UDP_COMBINED,
    "megvii": MEGVII,
    "simcc": SIMCC,
}


def reference_mask(keypoints, visible, size, radius):
    """Go through the definition pixel by pixel, in Python's float64."""
    width, height = size
    mask = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            for (x, y), v in zip(keypoints, visible):
                near = (column - float(x)) ** 2 + (row - float(y)) ** 2 < radius**2
                if v >= 0.5 and near:
                    mask[row, column] = 1
    return mask


def build(codec, **kwargs):
    if codec is SIMCC:
        kwargs.setdefault("mask_size", MAP)
    return KEYPOINT_CODECS.build(dict(type="SegmentationTarget", codec=codec, **kwargs))


coordinates = st.floats(-30, 60, width=32)


@given(
    st.lists(
        st.tuples(coordinates, coordinates, st.sampled_from([0.0, 0.4, 0.5, 1.0])), max_size=5
    ),
    st.integers(1, 17),
    st.integers(1, 13),
    st.floats(0.25, 12),
)
def test_discs_equal_the_per_pixel_reference(points, width, height, radius):
    keypoints = np.array([p[:2] for p in points], dtype=np.float64).reshape(-1, 2)
    visible = np.array([p[2] for p in points])
    mask = keypoint_discs(keypoints, visible, (width, height), radius)
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask, reference_mask(keypoints, visible, (width, height), radius))


@pytest.mark.parametrize("radius", [3, 5, 9])
def test_disc_at_a_pixel_is_open(radius):
    mask = keypoint_discs(np.array([[20.0, 30.0]]), np.ones(1), MAP, radius)
    assert mask[30, 20 + radius] == 0, "the boundary does not belong to the disc"
    assert mask[30, 20 + radius - 1] == 1
    # Gauss circle problem: points of the grid strictly inside
    count = sum(
        dx * dx + dy * dy < radius**2
        for dx in range(-radius, radius + 1)
        for dy in range(-radius, radius + 1)
    )
    assert mask.sum() == count


def test_disc_at_the_border_is_cut_and_one_outside_still_reaches_in():
    corner = keypoint_discs(np.array([[0.0, 0.0]]), np.ones(1), MAP, 5)
    assert corner[:5, :5].sum() == corner.sum() > 0
    outside = keypoint_discs(np.array([[-2.0, 10.0]]), np.ones(1), MAP, 5)
    assert outside[10, 2] == 1 and outside[10, 3] == 0
    assert not keypoint_discs(np.array([[-5.0, 10.0]]), np.ones(1), MAP, 5).any()


def test_no_keypoints_and_none_visible_give_an_empty_mask():
    assert not keypoint_discs(np.zeros((0, 2)), np.zeros(0), MAP, 5).any()
    assert not keypoint_discs(np.full((3, 2), 9.0), np.zeros(3), MAP, 5).any()


def test_coordinates_that_are_not_numbers_mark_nothing():
    points = np.array([[np.nan, 5], [np.inf, 5], [5, 5]])
    expected = keypoint_discs(points[2:], np.ones(1), MAP, 3)
    np.testing.assert_array_equal(keypoint_discs(points, np.ones(3), MAP, 3), expected)


@pytest.mark.parametrize(
    ("points", "visible"),
    [((4, 3), (4,)), ((2, 2, 2), (2,)), ((8,), (8,)), ((4, 2), (3,)), ((4, 2), (4, 1))],
)
def test_discs_of_arrays_of_other_shapes_are_refused(points, visible):
    with pytest.raises(ValueError, match=r"needs keypoints of shape \(K, 2\) and visible"):
        keypoint_discs(np.ones(points), np.ones(visible), MAP, 3)


@pytest.mark.parametrize("name", CODECS)
def test_mask_lies_where_the_codec_maps_the_keypoints(name):
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(-10, 260, (1, 17, 2)).astype(np.float32)
    visible = rng.choice([0.0, 1.0], (1, 17)).astype(np.float32)
    codec = build(CODECS[name], radius=4.5)
    encoded = codec.encode(keypoints, visible)
    # UDP maps corner pixel to corner pixel, the others edge to edge
    scale = (np.array(INPUT) - 1.0) / (np.array(MAP) - 1.0) if "udp" in name else np.full(2, 4.0)
    expected = reference_mask((keypoints / scale.astype(np.float32))[0], visible[0], MAP, 4.5)
    assert encoded["segmentation"].shape == (1, 64, 48)
    np.testing.assert_array_equal(encoded["segmentation"][0], expected)


@pytest.mark.parametrize("name", ["udp", "msra", "dark"])
def test_mask_is_centred_on_the_heatmap_peak(name):
    keypoints = np.array([[[120.0, 88.0]]])
    encoded = build(CODECS[name], radius=1.0).encode(keypoints, np.ones((1, 1)))
    row, column = np.unravel_index(encoded["heatmaps"][0].argmax(), (64, 48))
    assert encoded["segmentation"][0, row, column] == 1


@pytest.mark.parametrize("name", CODECS)
def test_everything_else_is_the_wrapped_codec(name):
    inner = KEYPOINT_CODECS.build(CODECS[name])
    codec = build(CODECS[name])
    keypoints = np.random.default_rng(1).uniform(0, 190, (1, 17, 2)).astype(np.float32)
    visible = np.ones((1, 17), dtype=np.float32)
    encoded, plain = codec.encode(keypoints, visible), inner.encode(keypoints, visible)
    assert set(encoded) == {*plain, "segmentation"}
    for key, value in plain.items():
        np.testing.assert_array_equal(encoded[key], value)
    assert codec.label_mapping_table == inner.label_mapping_table
    assert codec.instance_mapping_table == inner.instance_mapping_table
    assert codec.field_mapping_table == {
        **inner.field_mapping_table,
        "segmentation": "segmentation",
    }
    assert codec.support_batch_decoding == inner.support_batch_decoding
    assert codec.auxiliary_encode_keys == inner.auxiliary_encode_keys
    if "heatmaps" in plain:
        for ours, theirs in zip(codec.decode(plain["heatmaps"]), inner.decode(plain["heatmaps"])):
            np.testing.assert_array_equal(ours, theirs)


def test_auxiliary_items_and_batch_decoding_reach_the_wrapped_codec():
    codec = build(
        dict(type="DecoupledHeatmap", input_size=(64, 64), heatmap_size=(16, 16)), radius=2.0
    )
    assert codec.auxiliary_encode_keys == {"bbox"}
    keypoints = np.array([[[8.0, 8.0]], [[40.0, 40.0]]], dtype=np.float32)
    bbox = np.array([[[0, 0], [16, 0], [0, 16], [16, 16]]] * 2, dtype=np.float32)
    encoded = codec.encode(keypoints, np.ones((2, 1), dtype=np.float32), bbox=bbox)
    expected = reference_mask([(2, 2), (10, 10)], [1, 1], (16, 16), 2.0)
    np.testing.assert_array_equal(encoded["segmentation"][0], expected)

    udp_ae = build(
        dict(type="AssociativeEmbedding", input_size=(64, 64), heatmap_size=(16, 16), use_udp=True),
        radius=2.0,
    )
    assert udp_ae.support_batch_decoding


def test_default_radius_and_visibility():
    encoded = build(MSRA).encode(np.array([[[80.0, 80.0]]]))
    np.testing.assert_array_equal(
        encoded["segmentation"][0], reference_mask([(20, 20)], [1], MAP, 5.0)
    )


@given(st.integers(0, 2**32 - 1))
def test_mask_of_the_mirrored_person_is_the_mirrored_mask(seed):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(-5, 55, (6, 2))
    visible = rng.choice([0, 1, 2], 6)
    mirrored = keypoints * [-1, 1] + [47, 0]
    np.testing.assert_array_equal(
        keypoint_discs(mirrored, visible, MAP, 5.0),
        keypoint_discs(keypoints, visible, MAP, 5.0)[:, ::-1],
    )


@pytest.mark.parametrize("radius", [0, -1.0, math.nan, math.inf])
def test_bad_radius(radius):
    with pytest.raises(ValueError, match="radius must be a positive number"):
        build(MSRA, radius=radius)
    with pytest.raises(ValueError, match="radius must be a positive number"):
        keypoint_discs(np.zeros((1, 2)), np.ones(1), MAP, radius)


def test_bad_geometry():
    with pytest.raises(ValueError, match="SimCCLabel has no heatmap_size.*mask_size"):
        KEYPOINT_CODECS.build(dict(type="SegmentationTarget", codec=SIMCC))
    with pytest.raises(ValueError, match="differs from the heatmap_size"):
        build(MSRA, mask_size=(24, 32))
    with pytest.raises(ValueError, match="needs keypoints of shape"):
        keypoint_discs(np.zeros((1, 3, 2)), np.ones((1, 3)), MAP, 5)
    for options in (dict(mask_size=MAP), {}):  # a mask size would not help
        with pytest.raises(ValueError, match="states no input_size"):
            build(dict(type="ImagePoseLifting", num_keypoints=17, root_index=0), **options)


@pytest.mark.parametrize("name", ["decode", "batch_decode"])
def test_the_wrapped_codec_decodes_whatever_it_takes(monkeypatch, name):
    codec = build(MSRA)
    given = lambda *args, **kwargs: (args, kwargs)  # noqa: E731
    monkeypatch.setattr(codec.codec, name, given, raising=False)
    assert getattr(codec, name)("heatmaps", "tags", key=1) == (("heatmaps", "tags"), {"key": 1})


def test_a_simcc_target_decodes_to_its_keypoints():
    codec = build(SIMCC)
    keypoints = np.array([[[30.0, 40], [100, 200]]], np.float32)
    encoded = codec.encode(keypoints, np.ones((1, 2), np.float32))
    decoded, _ = codec.decode(encoded["keypoint_x_labels"], encoded["keypoint_y_labels"])
    np.testing.assert_allclose(decoded, keypoints, atol=0.5)


def test_integral_regression_states_its_sizes_in_its_config():
    inner = dict(type="IntegralRegressionLabel", input_size=INPUT, heatmap_size=MAP, sigma=2.0)
    keypoints = np.array([[[30.0, 40], [100, 200]]], np.float32)
    visible = np.ones((1, 2), np.float32)
    encoded = build(inner).encode(keypoints, visible)
    expected = keypoint_discs(keypoints[0] / 4, visible[0], MAP, 5)
    np.testing.assert_array_equal(encoded["segmentation"][0], expected)
    assert encoded["heatmaps"].shape == (2, 64, 48)


def test_yolox_annotations_state_height_before_width():
    inner = dict(type="YOLOXPoseAnnotationProcessor", input_size=(256, 192))
    keypoints = np.array([[[30.0, 40], [100, 200]]], np.float32)
    visible = np.ones((1, 2), np.float32)
    codec = build(inner, mask_size=MAP, radius=3)
    encoded = codec.encode(
        keypoints=keypoints, keypoints_visible=visible, bbox=np.ones((1, 4)), category_id=[1]
    )
    expected = keypoint_discs(keypoints[0] / 4, visible[0], MAP, 3)
    np.testing.assert_array_equal(encoded["segmentation"][0], expected)
    with pytest.raises(ValueError, match="add input_size to the codec's config"):
        build(dict(type="YOLOXPoseAnnotationProcessor"), mask_size=MAP)


def test_the_mask_of_hands_in_space_is_flat():
    inner = dict(type="Hand3DHeatmap", image_size=[256, 256], heatmap_size=[64, 64, 64])
    codec = build(inner, radius=3)
    keypoints = np.random.default_rng(0).uniform(10, 240, (1, 42, 3)).astype(np.float32)
    visible = np.ones((1, 42), np.float32)
    encoded = codec.encode(
        keypoints,
        visible,
        dataset_keypoint_weights=np.ones(42, np.float32),
        rel_root_depth=np.float32(10),
        rel_root_valid=np.float32(1),
        hand_type=np.array([[1, 0]]),
        hand_type_valid=np.array([1]),
        focal=np.ones(2),
        principal_pt=np.ones(2),
    )
    expected = keypoint_discs(keypoints[0, :, :2] / 4, visible[0], (64, 64), 3)
    np.testing.assert_array_equal(encoded["segmentation"][0], expected)


def test_a_negative_visibility_is_refused():
    visible = np.array([[1, -1, 1]], np.float32)
    with pytest.raises(ValueError, match="keypoint 1 of person 0 .* with visibility -1.0"):
        build(MSRA).encode(np.ones((1, 3, 2), np.float32), visible)


@pytest.mark.parametrize(
    "keypoints, visible",
    [
        (np.ones((3, 2)), None),
        (np.ones((1, 3, 1)), None),
        (np.full((1, 3, 2), "1"), None),
        (np.ones((1, 3, 2), object), None),
        (np.ones((1, 3, 2)), np.ones(3)),
        (np.ones((1, 3, 2)), np.ones((1, 1))),
        (np.ones((1, 3, 2)), np.ones((1, 3), complex)),
    ],
)
def test_arrays_of_another_kind_are_refused(keypoints, visible):
    codec = build(MSRA)
    with pytest.raises(ValueError, match=r"keypoints of shape \(N, K, D\), D >= 2, .* got"):
        codec.encode(keypoints, visible)

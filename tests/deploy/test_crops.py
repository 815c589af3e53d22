# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpose.datasets.transforms import GetBBoxCenterScale, LoadImage, TopdownAffine

from sgpose.deploy.crops import (
    LARGEST,
    check_boxes,
    crop_geometry,
    crop_persons,
    from_xywh,
    read_image,
    to_image,
)
from sgpose.deploy.pose_spec import PoseSpec

SPEC = dict(
    network="none",
    dataset="toy",
    input_size=(24, 32),
    input_layout="NHWC",
    padding=1.25,
    use_udp=False,
    codec=dict(type="MSRAHeatmap", unbiased=False),
    outputs=("keypoints", "scores"),
    flip_test=False,
    flip_indices=(0,),
    keypoint_names=("nose",),
    keypoint_colors=((0, 0, 255),),
    skeleton=(),
    skeleton_colors=(),
)
IMAGE = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)


@given(
    corner=st.tuples(st.floats(-60, 120), st.floats(-60, 120)),
    size=st.tuples(st.floats(0, 150), st.floats(0.5, 150)),
    dtype=st.sampled_from([np.float32, np.float64]),
    padding=st.sampled_from([1.0, 1.25]),
    use_udp=st.booleans(),
)
def test_crops_are_mmposes_bit_for_bit(corner, size, dtype, padding, use_udp):
    box = np.array([[*corner, corner[0] + size[0], corner[1] + size[1]]], dtype)
    spec = PoseSpec(**dict(SPEC, padding=padding, use_udp=use_udp))
    crops, _, centers, sizes = crop_persons(IMAGE, box, spec)
    results = GetBBoxCenterScale(padding=padding).transform(dict(img=IMAGE, bbox=box))
    results = TopdownAffine((24, 32), use_udp).transform(dict(results, ori_shape=IMAGE.shape[:2]))
    np.testing.assert_array_equal(crops[0], results["img"])
    np.testing.assert_allclose(centers[0], results["input_center"])
    np.testing.assert_allclose(sizes[0], results["input_scale"])


def test_without_boxes_the_crop_holds_the_whole_image():
    crops, _, centers, sizes = crop_persons(IMAGE, None, PoseSpec(**SPEC))
    assert crops.shape == (1, 32, 24, 3)
    np.testing.assert_array_equal(centers, [[35, 45]])
    np.testing.assert_allclose(sizes, [[70 * 1.25, 70 * 1.25 / 0.75]], rtol=1e-6)


def test_corners_of_the_crop_are_mapped_to_corners_of_the_padded_box():
    centers, sizes = crop_geometry(np.array([[10.0, 20, 40, 60]]), (24, 32), padding=1.0)
    found = to_image(np.array([[[0.0, 0], [24, 32], [12, 16]]]), centers, sizes, (24, 32))
    np.testing.assert_allclose(found[0], [[10, 20], [40, 60], [25, 40]])


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), np.zeros((0,))])
def test_no_boxes_are_no_crops(boxes):
    assert check_boxes(boxes).shape == (0, 4)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 2, 3, 4], r"\(N, 4\).*got shape \(4,\)"),
        ([[1, 2, 3, 4, 0.9]], r"got shape \(1, 5\)"),
        ([["a", "b", "c", "d"]], "numbers"),
        ([[0, 0, 5, 5], [0, 0, np.nan, 5]], "finite .* box 1"),
        ([[0, 0, np.inf, 5]], "finite .* box 0"),
        ([[5, 0, 0, 5]], "right >= left"),
        ([[0, 0, 5, 5], [3, 3, 3, 3]], "box 1 is"),
    ],
)
def test_boxes_that_are_none_are_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        check_boxes(boxes)


@pytest.fixture
def files(tmp_path):
    """An image as files of several kinds."""
    wide = (IMAGE.astype(np.uint16) << 8) + 77
    alpha = np.dstack([IMAGE, IMAGE[..., 0]])
    contents = dict(colour=IMAGE, grey=IMAGE[..., 0], alpha=alpha, wide=wide)
    for name, content in contents.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), content)
    cv2.imwrite(str(tmp_path / "jpeg.jpg"), IMAGE)
    return tmp_path


@pytest.mark.parametrize("name", ["colour.png", "grey.png", "alpha.png", "wide.png", "jpeg.jpg"])
def test_files_are_read_as_by_mmpose(files, name):
    expected = LoadImage().transform(dict(img_path=str(files / name)))["img"]
    for path in (files / name, str(files / name)):
        np.testing.assert_array_equal(read_image(path), expected)


def test_arrays_become_bgr():
    np.testing.assert_array_equal(read_image(IMAGE), IMAGE)
    np.testing.assert_array_equal(read_image(np.dstack([IMAGE, IMAGE[..., 0]])), IMAGE)
    grey = np.repeat(IMAGE[..., :1], 3, axis=2)
    np.testing.assert_array_equal(read_image(IMAGE[..., 0]), grey)
    np.testing.assert_array_equal(read_image(IMAGE[..., :1]), grey)
    mirrored = read_image(IMAGE[:, ::-1, ::-1])  # a view that OpenCV does not take
    assert mirrored.flags.c_contiguous
    np.testing.assert_array_equal(mirrored, IMAGE[:, ::-1, ::-1])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE.astype(np.uint16), "uint8, got uint16"),
        (IMAGE / 255, "uint8, got float64"),
        (IMAGE[..., :2], r"got \(90, 70, 2\)"),
        (IMAGE[None], r"got \(1, 90, 70, 3\)"),
        (IMAGE[:0], r"got \(0, 70, 3\)"),
        ([[1]], "path or a NumPy array, got list"),
    ],
)
def test_other_arrays_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        read_image(image)


def test_files_that_hold_no_image_are_named(tmp_path):
    for name, content in (("empty.png", b""), ("broken.jpg", b"\xff\xd8\xff no picture")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} holds no image"):
            read_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        read_image(tmp_path / "absent.png")


@pytest.mark.parametrize("far", [3e38, -3e38, 2e9, np.nan, np.inf])
def test_boxes_beyond_any_image_are_refused(far):
    with pytest.raises(ValueError, match="finite and within 1e\\+09 pixels, box 1 is"):
        check_boxes(np.array([[0, 0, 5, 5], [min(0, far), 0, far, 9]], np.float32))
    assert len(check_boxes([[-1e9, 0, 1e9, 5]])) == 1


def test_boxes_of_corner_and_size():
    np.testing.assert_array_equal(from_xywh([[10, 20, 30, 40]]), [[10, 20, 40, 60]])
    assert from_xywh([]).shape == (0, 4)
    with pytest.raises(ValueError, match="right >= left"):
        from_xywh([[10, 20, -5, 40]])
    with pytest.raises(ValueError, match=r"got shape \(4,\)"):
        from_xywh([10, 20, 5, 40])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("use_udp", [False, True])
def test_images_that_opencv_cannot_warp_are_cropped_first(turned, use_udp):
    size = LARGEST + 3000
    wide = np.zeros((40, size, 3), np.uint8)
    wide[:, -70:] = IMAGE[:40]
    near = np.array([[size - 60.0, 5, size - 30, 45]])
    spec = PoseSpec(**dict(SPEC, use_udp=use_udp))
    expected, *_ = crop_persons(wide[:, -200:], near - [size - 200, 0, size - 200, 0], spec)
    if turned:  # as high as it was wide
        wide, near = wide.transpose(1, 0, 2), near[:, [1, 0, 3, 2]]
        low = np.ascontiguousarray(wide[-200:])
        expected, *_ = crop_persons(low, near - [0, size - 200, 0, size - 200], spec)
    found, boxes, _, _ = crop_persons(np.ascontiguousarray(wide), near, spec)
    np.testing.assert_array_equal(boxes, near)
    assert np.abs(found.astype(int) - expected).max() <= 8  # other roundings of the positions
    assert expected.std() > 30


def test_a_crop_of_more_pixels_than_opencv_warps_takes_every_other():
    size = 2 * LARGEST + 10
    wide = np.zeros((100, size, 3), np.uint8)
    wide[:, size // 2 :] = 200
    spec = PoseSpec(**dict(SPEC, input_size=(2400, 4)))
    crops, _, centers, sizes = crop_persons(wide, None, spec)
    np.testing.assert_allclose(centers, [[size / 2, 50]])
    np.testing.assert_allclose(sizes, [[size * 1.25, size * 1.25 / 600]])
    row = crops[0, 2, :, 0].astype(int)
    assert row[:1199].max() == 0, "the picture's left half and what lies beside it"
    np.testing.assert_array_equal(row[1202:2150], 200)
    assert row[2170:].max() == 0, "a quarter more room than the box"


def test_a_header_that_claims_too_many_pixels_is_refused(tmp_path):
    _, png = cv2.imencode(".png", IMAGE)
    claims = bytearray(png.tobytes())
    claims[16:24] = (40000).to_bytes(4, "big") * 2
    claims[29:33] = zlib.crc32(bytes(claims[12:29])).to_bytes(4, "big")
    (tmp_path / "claims.png").write_bytes(claims)
    with pytest.raises(ValueError, match=r"claims\.png (cannot be read by|holds no image)"):
        read_image(tmp_path / "claims.png")

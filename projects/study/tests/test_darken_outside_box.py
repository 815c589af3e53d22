# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpose.datasets.transforms import TopdownAffine
from mmpose.registry import TRANSFORMS

from projects.study import DarkenOutsideBox
from projects.study.darken_outside_box import box_mask


def sample(box, rotation=0.0, size=(120, 100), scale=(60.0, 80.0)):
    box = np.array([box], np.float32)
    rng = np.random.default_rng(0)
    return dict(
        img=rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        id=7,
        bbox=box,
        ori_shape=size,
        bbox_center=(box[:, :2] + box[:, 2:]) / 2,
        bbox_scale=np.array([scale], np.float32),
        bbox_rotation=np.array([rotation], np.float32),
    )


def crops(given, **options):
    """The crop of MMPose's transform, and of ours."""
    results = TopdownAffine((48, 64)).transform(dict(given))
    return results["img"], DarkenOutsideBox(**options).transform(dict(results))["img"]


def test_by_hand():
    # a crop of 60 x 80 image pixels around (50, 60), at 0.8 crop pixels each; the box of 30 x 60
    # image pixels covers the crop's columns 12 to 35 and rows 8 to 55
    plain, ours = crops(sample([35, 30, 65, 90]), outside=0.5)
    expected = np.rint(plain * 0.5)
    expected[8:56, 12:36] = plain[8:56, 12:36]
    edge = np.ones((64, 48), bool)
    edge[9:55, 13:35] = False
    edge[:7], edge[57:], edge[:, :11], edge[:, 37:] = False, False, False, False
    assert np.abs(ours[~edge].astype(float) - expected[~edge]).max() <= 1
    assert (ours <= plain).all()


@pytest.mark.parametrize("use_udp", [False, True])
def test_the_box_turns_with_the_image(use_udp):
    given = sample([35, 30, 65, 90], rotation=90.0)
    white = np.full_like(given["img"], 255)
    results = TopdownAffine((48, 64), use_udp).transform(dict(given, img=white))
    darken = DarkenOutsideBox(outside=0.0, use_udp=use_udp)
    found = darken.transform(results)["img"][..., 0] > 127
    rows, columns = np.nonzero(found)
    # 30 wide and 60 high becomes 60 wide and 30 high, 0.8 crop pixels each: 48 x 24
    assert abs(np.ptp(columns) + 1 - 48) <= 1 and abs(np.ptp(rows) + 1 - 24) <= 1
    assert found.sum() == pytest.approx(48 * 24, rel=0.07)


def test_a_factor_of_one_changes_nothing():
    plain, ours = crops(sample([35, 30, 65, 90]), outside=1.0)
    np.testing.assert_array_equal(plain, ours)


def test_jitter_moves_the_box_and_not_the_crop():
    given = sample([35, 30, 65, 90])
    plain, ours = crops(given, outside=0.0, jitter=0.2, seed=0)
    kept = (ours == plain).all(axis=2)
    assert kept.mean() > 0.05
    again = crops(given, outside=0.0, jitter=0.2, seed=0)[1]
    other = crops(dict(given, id=8), outside=0.0, jitter=0.2, seed=0)[1]
    np.testing.assert_array_equal(ours, again)
    assert (ours != other).any()
    np.random.seed(0)
    drawn = [crops(given, outside=0.0, jitter=0.2)[1] for _ in range(2)]
    assert (drawn[0] != drawn[1]).any()


@given(
    st.tuples(*[st.floats(-50, 150, width=32)] * 4).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
    )
)
def test_a_mask_holds_the_pixels_in_the_box(box):
    mask = box_mask(np.array(box), (30, 40))
    y, x = np.mgrid[:30, :40]
    expected = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    np.testing.assert_array_equal(mask, 255 * expected.astype(np.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(outside=1.1), r"outside must be a factor in \[0, 1\], got 1.1"),
        (dict(outside=float("nan")), "outside must be"),
        (dict(jitter=-0.1), "jitter must not be negative, got -0.1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(dict(type="DarkenOutsideBox", **options))

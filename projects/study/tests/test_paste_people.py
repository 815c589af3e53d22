# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest
from mmpose.registry import DATASETS, TRANSFORMS

from projects.study.paste_people import LIMB_RADIUS, paste_person
from sgpose.datasets import write_toy_people


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    write_toy_people(root, num_train=3, num_val=0)
    return dict(
        type="CocoDataset",
        data_root=str(root),
        data_mode="topdown",
        ann_file="annotations/person_keypoints_train.json",
        data_prefix=dict(img="train/"),
    )


def stick(colour=200):
    """A person of two keypoints and one limb, 40 pixels high, upright in the middle."""
    return dict(
        img=np.full((60, 50, 3), colour, dtype=np.uint8),
        keypoints=np.array([[[25.0, 10.0], [25.0, 50.0]]]),
        keypoints_visible=np.ones((1, 2)),
        bbox=np.array([[15.0, 10.0, 35.0, 50.0]]),
        skeleton_links=[(0, 1)],
    )


def test_a_person_lands_where_it_is_asked_for():
    image = np.zeros((128, 96, 3), dtype=np.uint8)
    pasted = paste_person(image, stick(), centre=(30, 70), length=80, flip=False)
    assert not image.any(), "the given image stays as it is"
    rows, columns = np.nonzero(pasted[..., 0] > 100)
    reach = LIMB_RADIUS * 80
    assert (rows.min(), rows.max()) == pytest.approx((30 - reach, 110 + reach), abs=1.5)
    assert (columns.min(), columns.max()) == pytest.approx((30 - reach, 30 + reach), abs=1.5)


def test_a_person_can_be_mirrored():
    person = stick()
    person["img"][:, :25] = 50
    for flip, (left, right) in {False: (50, 200), True: (200, 50)}.items():
        pasted = paste_person(np.zeros((128, 96, 3), np.uint8), person, (48, 64), 80, flip)
        assert pasted[64, 46, 0] == left and pasted[64, 50, 0] == right


def paste(toy, results, **kwargs):
    return TRANSFORMS.build(dict(type="PastePeople", source=toy, **kwargs))(dict(results))["img"]


def test_seeded_people_are_the_same_each_time_and_others_for_another_sample(toy):
    sample = DATASETS.build(dict(toy, pipeline=[dict(type="LoadImage")]))[0]
    first = paste(toy, sample, num_people=2, seed=5)
    np.random.random()
    np.testing.assert_array_equal(first, paste(toy, sample, num_people=2, seed=5))
    assert (first != sample["img"]).any()
    assert (first != paste(toy, dict(sample, id=77), num_people=2, seed=5)).any()
    assert (first != paste(toy, sample, num_people=2, seed=6)).any()
    np.testing.assert_array_equal(sample["img"], paste(toy, sample, num_people=0))


def test_unseeded_people_follow_numpys_random_state(toy):
    sample = DATASETS.build(dict(toy, pipeline=[dict(type="LoadImage")]))[0]
    np.random.seed(3)
    first, second = paste(toy, sample), paste(toy, sample)
    np.random.seed(3)
    np.testing.assert_array_equal(first, paste(toy, sample))
    assert (first != second).any()


def test_nobody_is_pasted_into_the_own_image(toy):
    transform = TRANSFORMS.build(dict(type="PastePeople", source=toy))
    path = transform.source[0]["img_path"]
    rng = np.random.default_rng(0)
    assert all(transform._draw(rng, path)["img_path"] != path for _ in range(20))
    transform.source.get_subset_(1)
    with pytest.raises(ValueError, match="holds no image but"):
        transform._draw(rng, path)


@pytest.mark.parametrize(
    "wrong", [dict(num_people=-1), dict(distance=(0.6, 0.3)), dict(size=(-1.0, 1.0))]
)
def test_settings_without_meaning_are_refused(toy, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TRANSFORMS.build(dict(type="PastePeople", source=toy, **wrong))

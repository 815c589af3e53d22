# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest
from mmengine.config import Config
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from sgpose.analysis.new_dataset.metainfo import (
    like,
    lonely,
    make_metainfo,
    metainfo_text,
    mirrored_pairs,
    mmpose_datasets,
    side,
    skeleton_links,
    swap_indices,
    unique,
)


@pytest.mark.parametrize(
    "left, right",
    [
        ("left_eye", "right_eye"),
        ("eye_left", "eye_right"),
        ("L_Eye", "R_Eye"),
        ("LEye", "REye"),
        ("eye_l", "eye_r"),
        ("l-eye", "r-eye"),
        ("leftEye", "rightEye"),
        ("lefteye", "righteye"),
        ("Left Eye", "Right Eye"),
        ("eyeLeft2", "eyeRight2"),
        ("toe_l_2", "toe_r_2"),
        ("L_F_Paw", "R_F_Paw"),
    ],
)
def test_sides_are_read_from_names(left, right):
    assert (side(left), side(right)) == ("left", "right")
    assert swap_indices(["nose", left, right]) == [0, 2, 1]


@pytest.mark.parametrize("name", ["nose", "thumb1", "root_of_tail", "collar", "rear", "leg", "lip"])
def test_names_without_a_side(name):
    assert side(name) == ""


def test_pairs_with_numbers_do_not_cross():
    names = ["left_eye_1", "right_eye_1", "left_eye_2", "right_eye_2", "left_tail"]
    assert swap_indices(names) == [1, 0, 3, 2, 4]
    assert lonely(names) == ["left_tail"]


def test_repeated_names_get_numbers():
    assert unique(["a", "b", "a", "a"]) == ("a", "b", "a_2", "a_3")


def test_the_swaps_of_mmposes_own_datasets():
    """Read from the names alone, they are those that MMPose states."""
    for name in ("coco", "aic", "crowdpose", "mpii", "coco_wholebody", "horse10", "ap10k", "halpe"):
        info = Config.fromfile(mmpose_datasets() / f"{name}.py").dataset_info.to_dict()
        parsed = parse_pose_metainfo(info)
        names = [parsed["keypoint_id2name"][k] for k in range(parsed["num_keypoints"])]
        stated = parsed["flip_indices"]
        found = swap_indices(names)
        # wholebody's face points are numbered, their sides are nowhere in the names
        read = [k for k in range(len(names)) if side(names[k])]
        assert [found[k] for k in read] == [stated[k] for k in read], name


@pytest.mark.parametrize(
    "skeleton, count, expected",
    [
        ([], 3, ([], "")),
        ([[0, 1], [1, 2]], 3, ([(0, 1), (1, 2)], "from 0")),
        ([[1, 2], [2, 3]], 3, ([(0, 1), (1, 2)], "from 1")),
        ([[1, 2], [3, 9]], 3, ([(0, 1)], "unusable")),
    ],
)
def test_skeletons_count_from_0_or_1(skeleton, count, expected):
    assert skeleton_links(skeleton, count) == expected


def test_a_skeleton_without_its_ends_is_told_by_its_symmetry():
    # nose, then left and right of eye and ear, then a tail; neither 0 nor 6 is used
    swaps = [0, 2, 1, 4, 3, 5]
    assert skeleton_links([[1, 3], [2, 4]], 6, swaps) == ([(1, 3), (2, 4)], "from 0")
    assert skeleton_links([[2, 4], [3, 5]], 6, swaps) == ([(1, 3), (2, 4)], "from 1")


def test_mirrored_pairs_are_found_where_a_shape_is_symmetric():
    rng = np.random.default_rng(0)
    face = np.array([[0.2, 0.3], [0.8, 0.3], [0.5, 0.5], [0.3, 0.8], [0.5, 0.8], [0.7, 0.8]])
    shapes = face + rng.normal(0, 0.03, (60, 6, 2))
    labelled = rng.random((60, 6)) < 0.9
    assert mirrored_pairs(shapes, labelled) == [1, 0, 2, 5, 4, 3]
    assert mirrored_pairs(shapes[:20], labelled[:20]) is None
    angles = rng.uniform(0, 2 * np.pi, 60)
    turns = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    turned = np.einsum("ijn,nkj->nki", turns, shapes - 0.5) + 0.5
    assert mirrored_pairs(turned, labelled) is None


def test_names_that_mmpose_knows_get_its_sigmas():
    names = ["Right Shoulder", "Right Elbow", "Right Wrist", "Left Shoulder", "Left Elbow"]
    names += ["Left Wrist", "Right Hip", "Right Knee", "Right Ankle", "Left Hip", "Left Knee"]
    names += ["Left Ankle", "Head top", "Neck"]
    name, info = like(names)
    assert name == "aic"
    made, whose = make_metainfo("mine", names, [], swap_indices(names))
    assert whose == "aic" and made["sigmas"] == info["sigmas"]
    assert len(made["skeleton_info"]) == len(info["skeleton_info"])


def test_the_file_is_what_mmpose_reads(tmp_path):
    names = ("nose", "left_eye", "right_eye")
    info, whose = make_metainfo("mine", names, [(0, 1), (0, 2)], [0, 2, 1])
    assert whose == "" and len(set(info["sigmas"])) == 1
    path = tmp_path / "metainfo.py"
    path.write_text(metainfo_text(info, "a comment\nof two lines"))
    parsed = parse_pose_metainfo(dict(from_file=str(path)))
    assert parsed["flip_indices"] == [0, 2, 1]
    assert parsed["skeleton_links"] == [(0, 1), (0, 2)]
    assert parsed["keypoint_id2name"] == dict(enumerate(names))

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import threading

import cv2
import numpy as np
import pytest
from mmpose.apis import inference_topdown

from sgpose.datasets import toy_sample
from sgpose.deploy import OnnxPose, Poses

# as detectors give them: inside, beyond the border, outside, a line, tiny
BOXES = np.array(
    [[10, 20, 100, 150], [-30.5, -10, 60, 90], [500, 500, 600, 700], [40, 30, 40, 90], [5, 5, 6, 7]]
)


def mmpose(model, image, boxes=None, **test_cfg):
    model.test_cfg = dict(model.test_cfg, **test_cfg)
    return [sample.pred_instances for sample in inference_topdown(model, image, boxes)]


def concat(found, name):
    return np.concatenate([instances[name] for instances in found])


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("codec", ["plain", "simcc"])
def test_keypoints_are_those_of_inference_topdown(trained, exported, picture, codec, flip_test):
    model = trained(codec).model()
    pose = OnnxPose(exported(codec, flip_test=flip_test), max_batch=4)
    for boxes in (None, BOXES, BOXES.astype(np.float32), BOXES.astype(int).tolist()):
        found = mmpose(model, picture, boxes, flip_test=flip_test)
        keypoints, scores = pose(picture, boxes)
        np.testing.assert_allclose(keypoints, concat(found, "keypoints"), rtol=0, atol=1e-2)
        np.testing.assert_allclose(scores, concat(found, "keypoint_scores"), atol=1e-4)


@pytest.mark.parametrize("codec", ["unbiased", "udp"])
def test_refined_keypoints_are_those_of_inference_topdown(trained, exported, codec):
    """But for few: in a heatmap of noise the step from its maximum hangs on its rounding."""
    model, pose = trained(codec).model(), OnnxPose(exported(codec))
    assert pose.spec.flip_test
    differences = []
    for index in range(4):
        image = toy_sample(seed=4, index=index)[0]
        expected = concat(mmpose(model, image, BOXES[:2]), "keypoints")
        differences.append(np.abs(pose(image, BOXES[:2]).keypoints - expected))
    assert np.quantile(np.concatenate(differences), 0.9) < 1e-2


@pytest.mark.parametrize("flip_test", [False, True])
def test_guide_maps_are_those_of_mmpose(trained, exported, picture, flip_test):
    model = trained("plain").model()
    found = mmpose(model, picture, BOXES[:2], flip_test=flip_test, output_heatmaps=True)
    pose = OnnxPose(exported("plain", guide_maps=True, flip_test=flip_test))
    poses = pose(picture, BOXES[:2], guide_maps=True)
    np.testing.assert_allclose(poses.guide_maps, concat(found, "guide_maps"), atol=1e-4)
    center, scale = concat(found, "guide_input_center"), concat(found, "guide_input_scale")
    np.testing.assert_allclose(
        poses.crops, np.hstack([center - scale / 2, center + scale / 2]), atol=1e-3
    )


@pytest.fixture(scope="module")
def pose(exported):
    return OnnxPose(exported("plain", guide_maps=True), threads=1)


def test_paths_arrays_and_lists_give_the_same(pose, picture, tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture)
    expected = pose(picture, BOXES)
    assert isinstance(expected, Poses)
    assert expected.keypoints.shape == (5, 17, 2) and expected.scores.shape == (5, 17)
    for image in (path, str(path)):
        np.testing.assert_array_equal(pose(image, BOXES).keypoints, expected.keypoints)
    first, second, third, fourth = pose(
        [picture, path, picture, path], [BOXES[:2], [], None, BOXES[2:]]
    )
    np.testing.assert_allclose(first.keypoints, expected.keypoints[:2], atol=1e-4)
    np.testing.assert_allclose(fourth.scores, expected.scores[2:], atol=1e-5)
    np.testing.assert_allclose(third.keypoints, pose(picture).keypoints, atol=1e-4)
    assert second.keypoints.shape == (0, 17, 2)
    assert [len(poses.scores) for poses in pose([picture, picture])] == [1, 1]
    with pytest.raises(ValueError, match="list of 2 images .* got 1"):
        pose([picture, picture], [BOXES])


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4))])
def test_no_boxes_give_no_poses(exported, picture, boxes):
    poses = OnnxPose(exported("plain", guide_maps=True))(picture, boxes, guide_maps=True)
    values = (poses.keypoints, poses.scores, poses.guide_maps, poses.crops)
    shapes = [value.shape for value in values]
    assert shapes == [(0, 17, 2), (0, 17), (0, 4, 32, 24), (0, 4)]
    assert OnnxPose(exported("plain", guide_maps=True))([]) == []


def test_bad_images_and_boxes_are_refused(pose, picture, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png holds no image"):
        pose(tmp_path / "broken.png")
    with pytest.raises(ValueError, match="finite"):
        pose(picture, [[0, 0, np.nan, 5]])


def test_the_number_of_crops_at_once_changes_nothing(exported, picture):
    many = np.concatenate([BOXES] * 3)
    few, all_at_once = (
        OnnxPose(exported("plain", guide_maps=True), max_batch=n)(picture, many).keypoints
        for n in (1, 64)
    )
    np.testing.assert_allclose(few, all_at_once, atol=1e-4)


def test_fewer_persons_than_threads_share_all_threads(exported, picture, monkeypatch):
    pose = OnnxPose(exported("plain", guide_maps=True), max_batch=8, threads=3)
    seen = []

    class Session:
        def __init__(self, shared):
            self.shared = shared

        def run(self, names, inputs):
            main = threading.current_thread().name == "MainThread"
            count = len(inputs["crops"])
            seen.append((count, self.shared, main))
            return [np.zeros((count, 17, 2), np.float32), np.zeros((count, 17), np.float32)]

    monkeypatch.setattr(pose, "_session", Session(True))
    monkeypatch.setattr(pose, "_session_of_one_thread", Session(False))
    calls = {}
    for count in (1, 2, 3, 5, 30):
        assert len(pose(picture, BOXES[:1].repeat(count, axis=0)).keypoints) == count
        calls[count] = sorted(seen, reverse=True)
        seen.clear()
    assert calls[1] == [(1, True, True)] and calls[2] == [(2, True, True)]
    assert calls[3] == [(1, False, True), (1, False, False), (1, False, False)]
    assert sorted(size for size, _, _ in calls[5]) == [1, 2, 2]
    assert sorted(size for size, _, _ in calls[30]) == [2, 2, 2, 4, 4, 4, 4, 4, 4]
    assert sum(size for size, _, main in calls[30] if main) == 10, "each thread has its share"

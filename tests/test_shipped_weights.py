# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The small model that comes with sgpose draws a right skeleton, in MMPose and without it."""

import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmpose.apis import inference_topdown, init_model
from onnx import load

from sgpose.deploy import OnnxPose
from sgpose.page.models import shipped_models

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs/sg_hrnet/lspet/td-hm_sghrnet-w16-supervision_1xb32-60e_lspet-128x96.py"
WEIGHTS = ROOT / "sgpose/weights/sghrnet-w16-supervision_lspet-128x96.pth"
PHOTOGRAPH = str(ROOT / "docs/images/000000000785.jpg")
BOX = [[281, 45, 500, 392]]
#: COCO's annotation of the photograph: x and y in pixels.
ANNOTATED = dict(
    left_shoulder=(399, 108),
    right_shoulder=(358, 129),
    left_elbow=(433, 142),
    right_elbow=(341, 159),
    left_wrist=(449, 165),
    right_wrist=(309, 178),
    left_hip=(424, 203),
    right_hip=(393, 214),
    left_knee=(429, 294),
    right_knee=(367, 273),
    left_ankle=(466, 362),
    right_ankle=(396, 341),
)


@pytest.fixture(scope="module")
def poses():
    model = init_model(str(CONFIG), str(WEIGHTS), device="cpu")
    (person,) = inference_topdown(model, PHOTOGRAPH, BOX)
    (onnx,) = shipped_models()
    return person.pred_instances, OnnxPose(onnx)(PHOTOGRAPH, BOX), OnnxPose(onnx).spec


def test_both_files_find_the_same_keypoints(poses):
    in_mmpose, without, _ = poses
    np.testing.assert_allclose(without.scores, in_mmpose.keypoint_scores, atol=0.01)
    sure = in_mmpose.keypoint_scores[0] > 0.4
    assert sure.sum() >= 6
    np.testing.assert_allclose(without.keypoints[0, sure], in_mmpose.keypoints[0, sure], atol=2.0)


def test_the_skeleton_on_the_photograph_is_right(poses):
    """Every joint lies within an eighth of the box's longer side of where people see it."""
    _, (keypoints, scores, *_), spec = poses
    found = dict(zip(spec.keypoint_names, keypoints[0]))
    away = {name: np.linalg.norm(found[name] - place) for name, place in ANNOTATED.items()}
    assert max(away.values()) < (392 - 45) / 8, away
    assert found["head_top"][1] < found["neck"][1] < found["left_hip"][1]
    assert scores.mean() > 0.5


def test_the_files_are_small():
    sizes = [path.stat().st_size for path in WEIGHTS.parent.iterdir()]
    assert sum(sizes) < 8e6


def test_which_operators_take_the_time():
    script = runpy.run_path(str(ROOT / "scripts/onnx_operators.py"))
    (onnx,) = shipped_models()
    events = script["profile"](onnx, batch=1, rounds=2, threads=1)
    times = script["operator_times"](script["after_the_first"](events))
    assert times.most_common(1)[0][0] == "Conv"
    nodes = Counter(node.op_type for node in load(onnx).graph.node)
    assert {"Conv", "Add"} <= set(times) & set(nodes)

    def event(start, duration, operator=None):
        kind = dict(cat="Node", args=dict(op_name=operator)) if operator else dict(cat="Session")
        return dict(kind, name="x" if operator else "model_run", ts=start, dur=duration)

    events = [event(9, 90, "Conv"), event(5, 99), event(105, 40), event(110, 7, "Conv")]
    events += [event(120, 2, "Add"), event(205, 40), event(210, 8, "Conv")]
    assert script["operator_times"](script["after_the_first"](events)) == {"Conv": 15, "Add": 2}


def test_how_much_work_convolutions_do():
    script = runpy.run_path(str(ROOT / "scripts/onnx_operators.py"))
    (onnx,) = shipped_models()

    def rounds(count):
        return script["after_the_first"](script["profile"](onnx, 2, rounds=count, threads=1))

    times, work = script["convolution_work"](rounds(1))
    # the stem: 64 kernels of 3x3x3 over 64x48 places, of two persons and their mirrored crops
    assert work[(64, 3, 3, 3), (4, 64, 64, 48)] == 2 * 4 * 64 * 27 * 64 * 48
    assert script["convolution_work"](rounds(2))[1] == {k: 2 * v for k, v in work.items()}
    assert times.keys() == work.keys()

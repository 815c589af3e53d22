# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The small model that comes with sgpose draws a plausible person, in MMPose and without it."""

import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from mmpose.apis import inference_topdown, init_model
from onnx import load

from sgpose.deploy import OnnxPose
from sgpose.page.models import shipped_models

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "projects/limb_guides/configs/td-hm_limb-guided-hrnet-w16_1xb32-60e_lspet-128x96.py"
WEIGHTS = ROOT / "sgpose/weights/sghrnet-w16-entrance_lspet-128x96.pth"
PORTRAIT = str(get_sample_data("grace_hopper.jpg", asfileobj=False))
WHOLE_PERSON = [[-50, 0, 560, 2000]]


@pytest.fixture(scope="module")
def poses():
    model = init_model(str(CONFIG), str(WEIGHTS), device="cpu")
    (person,) = inference_topdown(model, PORTRAIT, WHOLE_PERSON)
    (onnx,) = shipped_models()
    return person.pred_instances, OnnxPose(onnx)(PORTRAIT, WHOLE_PERSON), OnnxPose(onnx).spec


def test_both_files_find_the_same_keypoints(poses):
    in_mmpose, without, _ = poses
    np.testing.assert_allclose(without.scores, in_mmpose.keypoint_scores, atol=0.01)
    sure = in_mmpose.keypoint_scores[0] > 0.4
    assert sure.sum() >= 6
    np.testing.assert_allclose(without.keypoints[0, sure], in_mmpose.keypoints[0, sure], atol=2.0)


def test_a_portrait_is_upright_and_mirrored_the_right_way(poses):
    _, (keypoints, scores), spec = poses
    at = {name: (*keypoints[0, i], scores[0, i]) for i, name in enumerate(spec.keypoint_names)}
    head, neck = at["head_top"], at["neck"]
    right, left = at["right_shoulder"], at["left_shoulder"]
    assert head[1] < neck[1] < at["left_elbow"][1]
    assert right[0] < neck[0] < left[0], "the person's left is on the right of the picture"
    assert min(head[2], neck[2], right[2], left[2]) > 0.5


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
    assert {"Conv", "Add", "Sigmoid"} <= set(times) & set(nodes)

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

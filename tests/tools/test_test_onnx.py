# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from fabricate import tiny_run
from mmengine.config import Config

pytest.importorskip("onnxruntime", reason="the tool runs exported files")

from sgpose.deploy import OnnxPose, Poses  # noqa: E402
from sgpose.page.models import shipped_models  # noqa: E402

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "projects/limb_guides/configs/td-hm_limb-guided-hrnet-w16_1xb32-60e_lspet-128x96.py"
tool = runpy.run_path(str(ROOT / "tools/test_onnx.py"))


@pytest.fixture
def cfg(tmp_path) -> Config:
    return tiny_run(CONFIG, tmp_path)


class Told:
    """Poses as told, and what was asked."""

    def __init__(self, keypoints: np.ndarray) -> None:
        self.keypoints, self.boxes = keypoints, []

    def __call__(self, images: list, bboxes: list) -> list[Poses]:
        self.boxes += bboxes
        count = len(self.boxes)
        own = self.keypoints[count - len(bboxes) : count]
        return [Poses(pose[None], np.ones((1, len(pose)), np.float32)) for pose in own]


def test_the_score_is_the_share_of_keypoints_that_are_right(cfg):
    dataset = tool["DATASETS"].build(cfg.test_dataloader.dataset)
    persons = [dataset.get_data_info(i) for i in range(len(dataset))]
    told = np.concatenate([person["keypoints"] for person in persons])
    labelled = np.concatenate([person["keypoints_visible"] for person in persons]) > 0
    right = np.ones_like(labelled)
    right[0, :7] = False
    told[~right] += 1000

    def pck(count: int) -> float:
        shares = [
            right[:count, k][labelled[:count, k]].mean()
            for k in range(labelled.shape[1])
            if labelled[:count, k].any()
        ]
        return float(np.mean(shares))

    assert 0 < pck(1) < pck(2) < 1
    for count in (1, 2):
        pose = Told(told)
        metrics, speed = tool["score"](cfg, pose, persons=count)
        assert metrics["PCK"] == pytest.approx(pck(count)) and speed > 0
        np.testing.assert_array_equal(pose.boxes, [person["bbox"] for person in persons[:count]])


def run(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["test_onnx.py", *map(str, arguments)])
    tool["main"]()


def test_a_file_is_scored_from_the_command_line(cfg, tmp_path, monkeypatch, capsys):
    cfg.dump(tmp_path / "config.py")
    (onnx,) = shipped_models()
    expected, _ = tool["score"](cfg, OnnxPose(onnx, threads=1))
    given = (tmp_path / "config.py", onnx, "--threads", 1)
    run(monkeypatch, *given, "--provider", "CPUExecutionProvider", "--provider-options", "{}")
    written = capsys.readouterr().out
    assert f"PCK: {expected['PCK']:.4f}\n" in written and "persons/s" in written
    with pytest.raises(SystemExit, match="test_onnx: ONNX Runtime has no NoProvider here"):
        run(monkeypatch, *given, "--provider", "NoProvider")
    with pytest.raises(SystemExit):
        run(monkeypatch, *given, "--provider-options", "{")
    assert "invalid loads value" in capsys.readouterr().err

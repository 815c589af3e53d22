# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fabricate import tiny_run
from mmpose.registry import MODELS

ROOT = Path(__file__).parents[3]
LSPET = ROOT / "configs/sg_hrnet/lspet"
tool = runpy.run_module("projects.study.guides_at_errors")


def test_the_table_of_four_keypoints():
    types = np.array([0, 4, 4, -1])
    at_truth = np.array([[0.5, 0.2, 0.4, 1.0]])
    at_prediction = np.array([[0.5, 0.6, 0.3, 0.0]])
    assert tool["table"](types, at_truth, at_prediction).splitlines()[2:] == [
        "| correct | 1 | 0.50, 0.50, 100 % |",
        "| background | 2 | 0.30, 0.45, 50 % |",
    ]


@pytest.mark.parametrize(("count", "taken"), [(0, []), (2, [0, 1]), (3, [0, 1, 2]), (9, [1, 4, 7])])
def test_pictures_are_spread(count, taken):
    assert tool["spread"](np.arange(count), 3).tolist() == taken


def test_a_picture_shows_map_pose_and_error():
    maps = np.zeros((1, 2, 16, 12))
    maps[0, 1, :, 6:] = 1

    def in_image(*points):
        """From pixels of the picture, 120x160, to those of an image with a crop of 60x80."""
        return np.array([points]) / 2 + (170, 60)

    sample = dict(
        gt_instances=dict(
            keypoints=in_image([40, 50], [40, 100]), keypoints_visible=np.ones((1, 2))
        ),
        pred_instances=dict(
            keypoints=in_image([40, 50], [20, 130]),
            guide_maps=maps,
            guide_input_center=np.array([[200.0, 100.0]]),
            guide_input_scale=np.array([[60.0, 80.0]]),
        ),
    )
    dark, half = (tool["picture"](sample, guide, 1, [(0, 1)]) for guide in (0, 1))
    assert dark.shape == (160, 120, 3)
    np.testing.assert_allclose(dark[75, 40], tool["BONE"], atol=20)  # smoothed
    assert tuple(dark[105, 40]) == tool["RIGHT_PLACE"], "the ring has a radius of 5"
    assert tuple(dark[130, 20]) == tool["WRONG_PLACE"]
    assert dark[20, 100].max() < 5
    assert half[20, 100].min() > 150
    assert half[20, 20].max() < 5


def run(config, tmp_path, monkeypatch):
    cfg = tiny_run(LSPET / config, tmp_path)
    cfg.dump(tmp_path / "config.py")
    model = MODELS.build(cfg.model)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    arguments = [tmp_path / "config.py", tmp_path / "model.pth", "--out", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["guides_at_errors.py", *map(str, arguments)])
    tool["main"]()


def test_a_guided_model_is_read_and_drawn(tmp_path, monkeypatch, capsys):
    run("td-hm_sghrnet-w16_1xb32-60e_lspet-128x96.py", tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert "guide 4: true place, there, there not darker" in printed
    assert "| background |" in printed
    assert cv2.imread(str(tmp_path / "out/errors.png")).shape[0] > 4 * tool["HEIGHT"]


def test_a_model_without_guides_is_refused(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="has no guides"):
        run("td-hm_hrnet-w16_1xb32-60e_lspet-128x96.py", tmp_path, monkeypatch)

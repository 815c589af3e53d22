# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import os.path as osp
import runpy
import sys
from pathlib import Path

import mmpose
import pytest

from sgpose.mmpose_tools import mmpose_tool, run_mmpose_tool

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["train.py", "test.py", "misc/publish_model.py"])
def test_the_tools_are_mmposes(name):
    path = mmpose_tool(name)
    assert osp.isfile(path)
    assert osp.realpath(path).startswith(osp.dirname(osp.realpath(mmpose.__file__)))


def test_a_tool_that_mmpose_lacks():
    with pytest.raises(FileNotFoundError, match="has no tools/fly.py: reinstall it"):
        mmpose_tool("fly.py")


TOOLS = [path.stem for path in sorted((ROOT / "tools").glob("*.py"))]


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_explains_its_arguments(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools" / f"{tool}.py"), run_name="__main__")
    assert end.value.code == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    "config, missing",
    [
        ("coco/td-hm_sghrnet-w32_8xb64-210e_coco-256x192.py", "person_keypoints_train2017.json"),
        ("mpii/td-hm_sghrnet-w32_8xb64-210e_mpii-256x256.py", "mpii_train.json"),
        ("lspet/td-hm_sghrnet-w16_1xb32-60e_lspet-128x96.py", "lspet_train.json"),
    ],
)
def test_missing_data_are_asked_for(config, missing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / "configs" / "sg_hrnet" / config)
    options = ["--cfg-options", "model.backbone.init_cfg=None", "log_level=ERROR"]
    monkeypatch.setattr(sys, "argv", ["train.py", path, *options])
    with pytest.raises(SystemExit) as end:
        run_mmpose_tool("train.py")
    message = str(end.value)
    assert missing in message and "does not exist" in message
    assert "data/coco/annotations" in message and "ln -s" in message and "dataset_zoo" in message


def test_a_missing_image_is_asked_for_too(tmp_path, monkeypatch):
    script = "from mmpose.datasets.transforms import LoadImage\n"
    script += "LoadImage()(dict(img_path='data/coco/none.jpg'))\n"
    (tmp_path / "load.py").write_text(script)
    monkeypatch.setattr("sgpose.mmpose_tools.mmpose_tool", lambda name: str(tmp_path / name))
    monkeypatch.setattr(sys, "argv", ["load.py"])
    with pytest.raises(SystemExit, match="none.jpg"):
        run_mmpose_tool("load.py")


def test_a_mistyped_base_is_no_missing_dataset(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text("_base_ = 'sgpose::sg_hrnet/none.py'\n")
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path / "own.py")])
    with pytest.raises(FileNotFoundError, match="none.py"):
        run_mmpose_tool("train.py")


def test_other_errors_pass_through(tmp_path, monkeypatch):
    (tmp_path / "bad.py").write_text("assert False, 'something else'\n")
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path / "bad.py")])
    with pytest.raises(AssertionError, match="something else"):
        run_mmpose_tool("train.py")

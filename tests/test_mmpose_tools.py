# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import os.path as osp
import runpy
import sys
import urllib.error
import urllib.request
from pathlib import Path

import fabricate
import mmpose
import pytest
import torch

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


MISSING = {
    "coco/td-hm_sghrnet-w32_8xb64-210e_coco-256x192.py": "data/coco/annotations/",
    "mpii/td-hm_sghrnet-w32_8xb64-210e_mpii-256x256.py": "data/mpii/annotations/mpii_gt_val.mat",
    "lspet/td-hm_sghrnet-w16_1xb32-60e_lspet-128x96.py": "data/lspet/annotations/lspet_val.json",
}


@pytest.mark.parametrize("arguments", [["train.py"], ["train.py", "--no-check"], ["test.py"]])
@pytest.mark.parametrize("config", MISSING)
def test_missing_data_are_asked_for(config, arguments, tmp_path, monkeypatch):
    """By the names that the config gives them, not by those of COCO."""
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / "configs" / "sg_hrnet" / config)
    options = ["--cfg-options", "model.backbone.init_cfg=None", "log_level=ERROR"]
    name, *more = arguments
    checkpoint = ["none.pth"] if name == "test.py" else []
    monkeypatch.setattr(sys, "argv", [name, path, *checkpoint, *more, *options])
    with pytest.raises(SystemExit) as end:
        run_mmpose_tool(name)
    message = str(end.value)
    assert MISSING[config] in message and "are not there" in message and "dataset_zoo" in message
    assert "_dataloader.dataset.ann_file" in message
    assert ("data/coco" in message) == ("coco" in config)


@pytest.mark.parametrize("more", [[], ["--no-check"]])
def test_without_a_network_one_message_says_how_to_start(more, tmp_path, monkeypatch):
    """Weights that cannot be downloaded: before the first step, and where it is not checked."""

    def offline(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    fabricate.coco_style(tmp_path, 17)
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    url = "https://example.org/w16.pth"
    config = tmp_path / "own.py"
    config.write_text(
        "_base_ = 'sgpose::sg_hrnet/lspet/td-hm_hrnet-w16_1xb32-60e_lspet-128x96.py'\n"
        f"model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='{url}')),\n"
        "             head=dict(out_channels=17))\n"
        "own = dict(_delete_=True, type='CocoDataset', ann_file='ann.json',\n"
        f"           data_root='{tmp_path}')\n"
        "train_dataloader = dict(num_workers=0, persistent_workers=False,\n"
        "                        dataset=dict(own, pipeline=_base_.train_pipeline))\n"
        "val_cfg, val_dataloader, val_evaluator = None, None, None\n"
        f"work_dir, log_level = '{tmp_path}/work', 'ERROR'\n"
    )
    monkeypatch.setattr(sys, "argv", ["train.py", str(config), *more])
    with pytest.raises(SystemExit) as end:
        run_mmpose_tool("train.py")
    message = str(end.value)
    assert url in message and "Name or service not known" in message
    assert "--cfg-options model.backbone.init_cfg=None" in message
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "w16.pth") in message


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

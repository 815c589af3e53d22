# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Somebody else's config inherits from ours by `sgpose::`."""

import shutil
import sys
from pathlib import Path

import mmpose.registry
import pytest
from fabricate import tiny_run
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner

from sgpose.codecs import SegmentationTarget
from sgpose.mmpose_tools import run_mmpose_tool
from sgpose.models import DynamicWeightAverage, SGHRNet

ROOT = Path(__file__).resolve().parents[1]
TOY = "sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
OWN = f"""
_base_ = ["sgpose::{TOY}"]
model = dict(head=dict(loss_weighting=dict(temperature=2.0)))
train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder.radius = 4.0
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
"""


@pytest.fixture
def own(tmp_path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_config_inherits_from_ours(own):
    base, cfg = Config.fromfile(ROOT / "configs" / TOY), Config.fromfile(own)
    assert cfg.model.backbone == base.model.backbone
    assert cfg.model.head.loss_weighting.temperature == 2.0
    assert cfg.train_dataloader.dataset.pipeline[-2].encoder.radius == 4.0
    assert cfg.train_cfg == base.train_cfg


def test_it_trains_and_validates_without_a_word_of_scopes(own, tmp_path):
    (tmp_path / "run").mkdir()
    runner = Runner.from_cfg(tiny_run(own, tmp_path / "run"))
    runner.train()
    assert isinstance(runner.model.backbone, SGHRNet)
    weighting = runner.model.head.loss_weighting
    assert isinstance(weighting, DynamicWeightAverage) and weighting.temperature == 2.0
    encoder = runner.train_dataloader.dataset.pipeline.transforms[-2].encoder
    assert isinstance(encoder, SegmentationTarget) and encoder.radius == 4.0
    assert 0 <= runner.message_hub.get_scalar("val/coco/AP").current() <= 1
    (log,) = (tmp_path / "run" / "work_dir").glob("*/*.log")
    assert 'registry with scope "sgpose"' not in log.read_text()


def test_each_registry_finds_mmposes_parts_in_our_scope():
    registries = {
        name: registry
        for name, registry in vars(mmpose.registry).items()
        if isinstance(registry, Registry) and not name.startswith("MMENGINE_")
    }
    assert len(registries) > 20
    for name, registry in registries.items():
        with registry.root.switch_scope_and_registry("sgpose") as found:
            assert found.scope == "sgpose" and found.parent is registry, name
            for key, part in registry.module_dict.items():
                assert found.get(key) is part, (name, key)


def test_names_with_our_scope_are_found():
    assert mmpose.registry.MODELS.get("sgpose.SGHRNet") is SGHRNet


def test_a_source_tree_that_is_not_installed_is_told_so(own, tmp_path, monkeypatch):
    package = tmp_path / "sgpose"
    shutil.copytree(ROOT / "sgpose", package, ignore=shutil.ignore_patterns(".mim"))
    monkeypatch.setattr("mmengine.config.config.get_installed_path", lambda name: str(package))
    monkeypatch.setattr(sys, "argv", ["train.py", str(own)])
    with pytest.raises(SystemExit, match=r"\.mim(.|\n)*not\ninstalled: run `pip install"):
        run_mmpose_tool("train.py")


def test_a_config_that_we_do_not_have(tmp_path):
    (tmp_path / "own.py").write_text("_base_ = 'sgpose::sg_hrnet/none.py'\n")
    with pytest.raises(FileNotFoundError, match=r"configs/sg_hrnet/none\.py"):
        Config.fromfile(tmp_path / "own.py")

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Every shipped config is built and run: one training step, one validation."""

from pathlib import Path

import pytest
import torch
from fabricate import shallow_run
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import MODELS

from sgpose.models import SegmentationGuidedModule

ROOT = Path(__file__).parents[1] / "configs" / "sg_hrnet"
CONFIGS = sorted(p for p in ROOT.rglob("*.py") if "_base_" not in p.parts)
GUIDED = [p for p in CONFIGS if "sghrnet" in p.name]
PLAIN = [p for p in CONFIGS if p not in GUIDED]
TWINS = [p for p in PLAIN if p.with_name(p.name.replace("hrnet", "sghrnet")) in GUIDED]


def large_ones_are_slow(configs: list[Path]) -> list:
    """Parameters of a test, the networks that take longest left to the slow tests."""
    large = [pytest.mark.slow]
    return [
        pytest.param(p, id=p.stem, marks=large if "w48" in p.stem or "384x" in p.stem else [])
        for p in configs
    ]


def score(runner: Runner) -> float:
    """Return what the config calls its best score."""
    return runner.message_hub.get_scalar(f"val/{runner.cfg.best_metric}").current()


def without_scope(cfg):
    """Drop the marks that dicts from another package's base carry."""
    if isinstance(cfg, dict):
        return {k: without_scope(v) for k, v in cfg.items() if k != "_scope_"}
    return [without_scope(v) for v in cfg] if isinstance(cfg, (list, tuple)) else cfg


class Watch(Hook):
    """Keep what the training step logged and whether it moved the guides."""

    def before_train(self, runner):
        self.before = {k: v.clone() for k, v in runner.model.named_parameters() if "guides" in k}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.log = {k: float(v) for k, v in outputs.items()}
        self.masks = torch.stack([s.gt_fields.segmentation for s in data_batch["data_samples"]])
        parameters = dict(runner.model.named_parameters())
        self.moved = [k for k, v in self.before.items() if not torch.equal(v, parameters[k])]


@pytest.mark.parametrize("config", large_ones_are_slow(GUIDED))
def test_config_trains_one_step_and_validates(config, tmp_path):
    with torch.device("meta"):  # the network as it is shipped; a shallower one is trained
        shipped = MODELS.build(Config.fromfile(config).model)
    cfg = shallow_run(config, tmp_path)
    encoder = next(
        t.encoder for t in cfg.train_dataloader.dataset.pipeline if t.type == "GenerateTarget"
    )
    codec = without_scope(cfg.codec)
    assert without_scope(encoder.codec) == without_scope(cfg.model.head.decoder) == codec
    assert isinstance(encoder.radius, float)
    assert cfg.dataset_type == cfg.train_dataloader.dataset.type, "MMPose's inferencer reads it"
    assert isinstance(cfg.model.head.segmentation_loss.loss_weight, float)
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    assert watch.log["loss"] == pytest.approx(watch.log["loss_kpt"] + watch.log["loss_seg"])
    bias = abs(cfg.model.backbone.get("guide_init_bias", 0))
    assert 0 < watch.log["raw_seg"] < cfg.model.head.segmentation_loss.loss_weight * (1 + bias)
    width, height = cfg.codec.heatmap_size
    assert watch.masks.shape == (2, 1, height, width)
    assert 0 < watch.masks.mean() < 1
    modules = sum(
        isinstance(m, SegmentationGuidedModule) for m in runner.model.backbone.guides.modules()
    )
    assert set(watch.moved) == set(watch.before) and len(watch.before) == 4 * modules
    assert set(watch.before) <= set(dict(shipped.named_parameters()))
    assert 0 <= score(runner) <= 100


@pytest.mark.parametrize("config", TWINS, ids=lambda p: p.stem)
def test_twins_differ_in_nothing_but_the_guide(config, tmp_path):
    plain = Config.fromfile(config)
    guided = Config.fromfile(config.with_name(config.name.replace("hrnet", "sghrnet")))
    for cfg in (plain, guided):
        cfg.pop("custom_imports", None)
    assert guided.model.backbone.pop("type") == "SGHRNet"
    assert plain.model.backbone.pop("type") == "HRNet"
    assert guided.model.head.pop("type") == "SGHeatmapHead"
    assert plain.model.head.pop("type") == "HeatmapHead"
    assert guided.visualizer.pop("type") == "SGLocalVisualizer"
    assert plain.visualizer.pop("type") == "PoseLocalVisualizer"
    del guided.model.head["segmentation_loss"], guided.model.head["loss_weighting"]
    for target in (guided.train_pipeline, guided.train_dataloader.dataset.pipeline):
        target[-2].encoder = target[-2].encoder.codec
    assert without_scope(guided.to_dict()) == without_scope(plain.to_dict())

    runner = Runner.from_cfg(shallow_run(config, tmp_path))
    runner.train()
    assert 0 <= score(runner) <= 100


def test_the_papers_schedule_and_augmentation():
    for config in CONFIGS:
        if "_1xb32-210e_" not in config.name:
            continue
        cfg = Config.fromfile(config)
        assert cfg.train_dataloader.batch_size == 32 and cfg.train_cfg.max_epochs == 210
        assert without_scope(cfg.optim_wrapper.optimizer) == dict(type="Adam", lr=1e-3)
        (schedule,) = cfg.param_scheduler
        assert schedule.milestones == [170, 200] and schedule.gamma == 0.1
        types = [t.type for t in cfg.train_dataloader.dataset.pipeline]
        assert "RandomHalfBody" not in types and "RandomFlip" in types
        (bbox,) = (
            t for t in cfg.train_dataloader.dataset.pipeline if t.type == "RandomBBoxTransform"
        )
        assert bbox.scale_factor == (0.65, 1.35) and bbox.rotate_factor == 45.0
        assert bbox.shift_prob == 0
        assert cfg.model.backbone.extra.upsample == dict(mode="bilinear", align_corners=False)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_the_zoo_lists_every_config(config):
    path = config.relative_to(ROOT).as_posix()
    assert f"({path})" in (ROOT / "README.md").read_text()
    if config in GUIDED:
        metafile = (ROOT / "metafile.yml").read_text()
        assert f"Name: {config.stem}\n" in metafile
        assert f"Config: configs/sg_hrnet/{path}\n" in metafile

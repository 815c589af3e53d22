# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import runpy
from pathlib import Path

import pytest
import torch
from fabricate import tiny_run
from mmengine.hooks import Hook
from mmengine.runner import Runner

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "configs/sg_hrnet/lspet/td-hm_sghrnet-w16_1xb32-60e_lspet-128x96.py"
tool = runpy.run_module("projects.study.perfect_guides")


class Watch(Hook):
    """Keep what the guides returned last and the masks that they should have."""

    def before_test(self, runner):
        def keep(module, args, features):
            self.maps = torch.stack(features.segmentation_logits).sigmoid()

        runner.model.backbone.register_forward_hook(keep)

    def before_test_iter(self, runner, batch_idx, data_batch=None):
        samples = data_batch["data_samples"]
        self.masks = torch.stack([s.gt_fields.segmentation for s in samples])


def test_the_guides_return_the_masks(tmp_path):
    cfg = tiny_run(CONFIG, tmp_path)
    cfg.test_dataloader.dataset.bbox_file = "boxes without keypoints.json"
    cfg = tool["prepare"](cfg)
    assert cfg.model.test_cfg.flip_test is False
    watch = Watch()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(watch)
    runner.register_hook(tool["PerfectGuides"]())
    runner.test()
    assert 0 < watch.masks.mean() < 1
    for maps in watch.maps:
        torch.testing.assert_close(maps.round(), watch.masks)
        assert 0.98 < maps.max() < 0.99


def test_a_model_without_guides_is_refused(tmp_path):
    class WithoutGuides:
        model = torch.nn.ModuleDict(dict(backbone=torch.nn.Conv2d(3, 3, 1)))

    WithoutGuides.model.backbone = WithoutGuides.model["backbone"]
    with pytest.raises(TypeError, match="Conv2d has no guides"):
        tool["PerfectGuides"]().before_test(WithoutGuides)

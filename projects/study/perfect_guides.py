# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Test a guided model with its maps replaced by the targets: what would a perfect guide give?

Prints each metric with the predicted and with the true maps, both without flip test.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.runner import Runner

import sgpose  # noqa: F401
from sgpose.analysis.data_sets import make_targets, target_generator, use_annotated_boxes
from sgpose.models import GuidedOutputs, SegmentationGuidedModule, SGHRNet
from sgpose.models.heads.segmentation_guided_head import resize_logits

#: Logit of a pixel of the true mask; sigmoid(4) is 0.98.
CERTAIN = 4.0


class PerfectGuides(Hook):
    """Let every guide return the true mask of the batch."""

    def before_test(self, runner) -> None:
        backbone = runner.model.backbone
        if not isinstance(backbone, (SGHRNet, GuidedOutputs)):
            raise TypeError(f"{type(backbone).__name__} has no guides: use SGHRNet or SGBackbone")
        for guide in backbone.guides.values():
            if isinstance(guide, SegmentationGuidedModule):
                guide.predict = self.replacing(guide.predict)
            else:  # of limbs
                guide.forward = self.replacing(guide.forward)

    def before_test_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        samples = data_batch["data_samples"]
        self.masks = torch.stack([sample.gt_fields.segmentation for sample in samples])

    def replacing(self, predict: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """Return what has the shape of a guide's prediction and the truth in it."""

        def perfect(source) -> torch.Tensor:
            logits = predict(source)
            certain = CERTAIN * (2 * self.masks.to(logits) - 1)
            return resize_logits(certain, logits.shape[-2:])

        return perfect


def test_with_maps(cfg: Config, perfect: bool) -> dict[str, float]:
    """Return the test metrics with the predicted or the true maps."""
    runner = Runner.from_cfg(cfg.copy())
    if perfect:
        runner.register_hook(PerfectGuides())
    return runner.test()


def prepare(cfg: Config) -> Config:
    """Let the test set carry the masks of annotated persons, and test without flipping."""
    dataset = cfg.test_dataloader.dataset
    use_annotated_boxes(dataset)
    make_targets(dataset, target_generator(cfg.train_dataloader.dataset))
    cfg.model.test_cfg.flip_test = False
    return cfg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config of a guided top-down model")
    parser.add_argument("checkpoint")
    parser.add_argument("--work-dir", default="work_dirs/perfect_guides")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    cfg.load_from, cfg.work_dir, cfg.log_level = args.checkpoint, args.work_dir, "ERROR"
    cfg = prepare(cfg)
    predicted, true = test_with_maps(cfg, False), test_with_maps(cfg, True)
    for name in predicted:
        print(f"{name}: {predicted[name]:.4f} with predicted maps, {true[name]:.4f} with true maps")


if __name__ == "__main__":
    main()

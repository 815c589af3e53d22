# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Score the codec itself: encode the ground truth, decode it and evaluate that.

No model can do better than this with the same codec and decoder, except by luck.
"""

from __future__ import annotations

import argparse

from mmengine.config import Config, DictAction
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, MODELS

import sgpose  # noqa: F401


def codec_ceiling(cfg: Config) -> dict[str, float]:
    """Return the test metrics of the decoded ground-truth targets.

    Args:
        cfg: Config of a top-down heatmap model. Its test set is used with ground-truth boxes.
    """
    init_default_scope("mmpose")
    encoder = next(
        t.encoder for t in cfg.train_dataloader.dataset.pipeline if t.type == "GenerateTarget"
    )
    dataset_cfg = cfg.test_dataloader.dataset
    dataset_cfg.bbox_file = None
    dataset_cfg.pipeline.insert(-1, dict(type="GenerateTarget", encoder=encoder))
    dataset = DATASETS.build(dataset_cfg)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    for item in dataset:
        sample = item["data_samples"]
        keypoints, scores = model.head.decoder.decode(sample.gt_fields.heatmaps.numpy())
        decoded = InstanceData(keypoints=keypoints, keypoint_scores=scores)
        evaluator.process(model.add_pred_to_datasample([decoded], None, [sample]), None)
    return evaluator.evaluate(len(dataset))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config of a top-down heatmap model")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    for name, value in codec_ceiling(cfg).items():
        print(f"{name} of encoding and decoding the ground truth: {value:.4f}")


if __name__ == "__main__":
    main()

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What a codec would score if the network made no error."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import DATASETS, METRICS, MODELS
from tqdm import tqdm

from .data_sets import check_sigmas, make_targets, target_generator, use_annotated_boxes


def codec_ceiling(cfg: Config) -> dict[str, float]:
    """Return the test metrics of the decoded ground-truth targets.

    Args:
        cfg: Config of a top-down heatmap model. Its test set is used with ground-truth boxes.

    Raises:
        ValueError: If the config has no targets to encode, or its metric cannot be computed.
    """
    init_default_scope(cfg.get("default_scope", "mmpose"))
    dataset_cfg = cfg.test_dataloader.dataset
    use_annotated_boxes(dataset_cfg)
    make_targets(dataset_cfg, target_generator(cfg.train_dataloader.dataset))
    dataset = DATASETS.build(dataset_cfg)
    given = cfg.test_evaluator
    evaluators = given if isinstance(given, Sequence) else [given]
    if any(issubclass(METRICS.get(e["type"]), CocoMetric) for e in evaluators):
        check_sigmas(dataset.metainfo)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    if not hasattr(model.head, "decoder"):
        raise ValueError(f"the head {type(model.head).__name__} has no decoder")
    evaluator = Evaluator(given)
    evaluator.dataset_meta = dataset.metainfo
    for index in tqdm(range(len(dataset)), disable=None):
        sample = dataset[index]["data_samples"]
        if "gt_fields" not in sample or "heatmaps" not in sample.gt_fields:
            raise ValueError("the codec makes no heatmaps: only theirs are decoded here")
        keypoints, scores = model.head.decoder.decode(sample.gt_fields.heatmaps.numpy())
        decoded = InstanceData(keypoints=keypoints, keypoint_scores=scores)
        evaluator.process(model.add_pred_to_datasample([decoded], None, [sample]), None)
    return evaluator.evaluate(len(dataset))

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Score an exported ONNX file on a config's test data, with the config's own evaluator."""

from __future__ import annotations

import argparse
import json
import time

from mmengine.config import Config, DictAction
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS
from tqdm import tqdm

import sgpose  # noqa: F401
from sgpose.deploy import OnnxPose

PERSONS_AT_ONCE = 64


def score(cfg: Config, pose: OnnxPose, persons: int | None = None) -> tuple[dict, float]:
    """Estimate the poses of a test set and evaluate them.

    Args:
        cfg: Config of a top-down model.
        pose: The exported model.
        persons: Number of persons, the first ones of the set. Defaults to all.

    Returns:
        The metrics, and persons per second from reading the images to the keypoints.
    """
    init_default_scope("mmpose")
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    count, seconds = min(len(dataset), persons or len(dataset)), 0.0
    for start in tqdm(range(0, count, PERSONS_AT_ONCE), leave=False, disable=None):
        numbers = range(start, min(start + PERSONS_AT_ONCE, count))
        samples = [dataset[number]["data_samples"] for number in numbers]
        paths = [sample.img_path for sample in samples]
        boxes = [sample.gt_instances.bboxes for sample in samples]
        begin = time.perf_counter()
        found = pose(paths, boxes)
        seconds += time.perf_counter() - begin
        for sample, poses in zip(samples, found):
            sample.pred_instances = InstanceData(
                keypoints=poses.keypoints,
                keypoint_scores=poses.scores,
                keypoints_visible=poses.scores,
                bboxes=sample.gt_instances.bboxes,
                bbox_scores=sample.gt_instances.bbox_scores,
            )
        evaluator.process(samples, None)
    return evaluator.evaluate(count), count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config with the test data and the evaluator")
    parser.add_argument("onnx", help="file that tools/export_onnx.py wrote")
    parser.add_argument("--persons", type=int, help="score the first ones only")
    parser.add_argument("--threads", type=int, help="threads of ONNX Runtime")
    parser.add_argument("--provider", default="CPUExecutionProvider", help="of ONNX Runtime")
    parser.add_argument(
        "--provider-options", type=json.loads, default={}, help="the provider's options, in JSON"
    )
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    try:
        pose = OnnxPose(
            args.onnx,
            threads=args.threads,
            providers=[(args.provider, args.provider_options)],
        )
        metrics, speed = score(cfg, pose, args.persons)
    except (ValueError, OSError) as error:
        raise SystemExit(f"test_onnx: {error}") from error
    for name, value in metrics.items():
        print(f"{name}: {value:.4f}")
    print(f"{speed:.1f} persons/s from image to keypoints")


if __name__ == "__main__":
    main()

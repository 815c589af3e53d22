# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Predictions on a config's test set by MMEngine's runner, kept on disk batch by batch."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import DATASETS, METRICS
from tqdm import tqdm

from ..engine.atomic_backend import AtomicBackend
from .data_sets import check_same_each_time, dataset_parts, use_annotated_boxes

KEPT = ("id", "img_id", "img_path", "input_center", "input_scale", "input_size", "raw_ann_info")


@METRICS.register_module()
class KeepPredictions(BaseMetric):
    """Write the predictions of each batch into a folder; there is nothing to compute.

    Args:
        folder (str): An existing folder.
        indices (list[int]): The samples' numbers in the dataset, in the order they come in.
    """

    default_prefix = "kept"

    def __init__(self, folder: str, indices: Sequence[int]) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.indices = list(indices)
        self.progress = tqdm(total=len(self.indices), unit="sample", disable=None)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep one batch; a batch is on disk as a whole or not at all."""
        if len(data_samples) > len(self.indices):
            raise RuntimeError(
                f"{len(data_samples)} samples came where {len(self.indices)} were asked for"
            )
        numbers = self.indices[: len(data_samples)]
        del self.indices[: len(data_samples)]
        kept = {
            number: dict(
                {key: sample[key] for key in KEPT if key in sample},
                gt_instances=dict(sample["gt_instances"]),
                pred_instances=dict(sample["pred_instances"]),
            )
            for number, sample in zip(numbers, data_samples)
        }
        AtomicBackend().put(pickle.dumps(kept), self.folder / f"{numbers[0]:07d}.pkl")
        self.results.append(None)
        self.progress.update(len(data_samples))

    def compute_metrics(self, results: list) -> dict:
        """Return nothing."""
        self.progress.close()
        return {}


def kept_predictions(
    cfg: Config, checkpoint: str, cache: Path, indices: Sequence[int] | None = None
) -> list[dict]:
    """Predict on the test set of a config, with its annotated boxes.

    What was predicted before with the same config, checkpoint and annotations is read from
    ``cache``; an interrupted call goes on with the batch at which it was interrupted.

    Args:
        cfg: Config. It is left as it is.
        checkpoint: Path of the checkpoint.
        cache: Folder for predictions and the runner's log; made if it is not there.
        indices: Samples' numbers in the dataset. Defaults to all.

    Returns:
        The samples in the order of ``indices``: dicts with ``pred_instances``, ``gt_instances``
        and those of `KEPT` that the dataset gives. Keypoints are in pixels of the image.

    Raises:
        ValueError: If the dataset's samples are others each time.
    """
    init_default_scope(cfg.get("default_scope", "mmpose"))
    cfg = copy.deepcopy(cfg)
    dataset = cfg.test_dataloader.dataset
    check_same_each_time(dataset)
    use_annotated_boxes(dataset)
    cfg.load_from = str(checkpoint)
    cfg.resume = False
    cfg.model.backbone.init_cfg = None
    cfg.log_level = "WARNING"
    folder = cache / _fingerprint(cfg, checkpoint)
    folder.mkdir(parents=True, exist_ok=True)

    if indices is None:
        indices = range(len(DATASETS.build(copy.deepcopy(dataset))))
    kept = _read(folder)
    missing = [index for index in indices if index not in kept]
    if missing:
        cfg.test_dataloader.sampler = dict(type="ListedSampler", indices=missing)
        cfg.work_dir = str(cache / "runs")
        cfg.visualizer = dict(type="PoseLocalVisualizer", name=folder.name)
        cfg.test_evaluator = dict(type="KeepPredictions", folder=str(folder), indices=missing)
        Runner.from_cfg(cfg).test()
        kept = _read(folder)
    return [kept[index] for index in indices]


def _read(folder: Path) -> dict[int, dict]:
    kept: dict[int, dict] = {}
    for file in sorted(folder.glob("*.pkl")):
        kept.update(pickle.loads(file.read_bytes()))
    return kept


def _fingerprint(cfg: Config, checkpoint: str) -> str:
    """Changes with anything that predictions depend on."""
    dataset = cfg.test_dataloader.dataset
    files = [os.path.abspath(checkpoint)]
    for part in dataset_parts(dataset):
        if part.get("ann_file"):
            files.append(os.path.join(part.get("data_root") or "", part.ann_file))
    stamps = [(file, os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in files]
    depends = (cfg.model.to_dict(), dataset.to_dict(), stamps)
    return hashlib.sha1(repr(depends).encode()).hexdigest()[:16]

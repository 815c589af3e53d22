# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Small networks, and short trainings of the toy config with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import TRANSFORMS

import sgpose  # noqa: F401

TOY = Path(__file__).parents[1] / "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
LOGGED = ("loss", "raw_kpt", "raw_seg", "weight_kpt", "weight_seg")


def _stage(branches: int, block: str = "BASIC") -> dict:
    return dict(
        num_modules=1,
        num_branches=branches,
        block=block,
        num_blocks=(1,) * branches,
        num_channels=(8, 8, 8, 8)[:branches],
    )


def small_toy_run(data: Path, work_dir: Path, *, workers: int = 0, epochs: int = 3) -> Config:
    """Return the toy config with a small network and batches of 2, without validation.

    Args:
        data: Folder with toy people.
        work_dir: Folder for logs and checkpoints.
        workers: Number of data workers, which are persistent.
        epochs: Number of epochs; each is saved, and one checkpoint kept.
    """
    cfg = Config.fromfile(TOY)
    stages = [_stage(1, "BOTTLENECK"), _stage(2), _stage(3), _stage(4)]
    cfg.model.backbone.extra.update({f"stage{i}": stage for i, stage in enumerate(stages, 1)})
    cfg.model.head.in_channels = 8
    cfg.train_dataloader.update(batch_size=2, num_workers=workers, persistent_workers=workers > 0)
    cfg.train_dataloader.dataset.data_root = str(data)
    for part in ("val", "test"):
        for name in ("dataloader", "evaluator", "cfg"):
            cfg[f"{part}_{name}"] = None
    cfg.train_cfg.update(max_epochs=epochs)
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=1, save_best=None)
    cfg.randomness = dict(seed=3)
    cfg.work_dir, cfg.log_level = str(work_dir), "ERROR"
    cfg.experiment_name = f"run{len(list(Path(work_dir).glob('*')))}"
    return cfg


class Diary(Hook):
    """Keep each step's losses and weights; end the run at a step, as an error would.

    Args:
        end_at: Number of the step, from 0, after which to call ``end``.
        end: What ends the run. Raises KeyboardInterrupt by default.
    """

    def __init__(self, end_at: int | None = None, end=None) -> None:
        self.steps: dict[int, list[float]] = {}
        self.end_at = end_at
        self.end = end or _interrupt

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps[runner.iter] = [float(outputs[name]) for name in LOGGED]
        if runner.iter == self.end_at:
            self.end()


def _interrupt() -> None:
    raise KeyboardInterrupt


def train(cfg: Config, diary: Diary) -> tuple[dict[int, list[float]], dict[str, torch.Tensor]]:
    """Run a training to its end or its interruption; return the diary and the model's state."""
    init_default_scope("mmpose")
    runner = Runner.from_cfg(cfg)
    runner.register_hook(diary)
    try:
        runner.train()
    except KeyboardInterrupt:
        if diary.end_at is None:
            raise
    return diary.steps, {k: v.clone() for k, v in runner.model.state_dict().items()}


def small_estimator(
    num_keypoints: int = 5,
    input_size: tuple[int, int] = (64, 96),
    heatmap_size: tuple[int, int] = (16, 24),
    **head,
) -> dict:
    """Return the config of a small SG-HRNet with a heatmap head.

    Args:
        num_keypoints: Number of keypoints K.
        input_size: Width and height of the input, multiples of 32.
        heatmap_size: Width and height of the heatmaps.
        head: Further arguments of the head.
    """
    codec = dict(type="MSRAHeatmap", input_size=input_size, heatmap_size=heatmap_size, sigma=1)
    stages = [_stage(1, "BOTTLENECK"), _stage(2), _stage(3), _stage(4)]
    return dict(
        type="TopdownPoseEstimator",
        data_preprocessor=dict(type="PoseDataPreprocessor", mean=[127.5], std=[64.0]),
        backbone=dict(
            type="SGHRNet", extra={f"stage{i}": stage for i, stage in enumerate(stages, 1)}
        ),
        head=dict(
            type="SGHeatmapHead",
            in_channels=8,
            out_channels=num_keypoints,
            deconv_out_channels=None,
            decoder=codec,
            **head,
        ),
    )


def fabricated_batch(
    model: dict, keypoints: np.ndarray, visible: np.ndarray, seed: int = 0
) -> dict[str, list]:
    """Return B images of noise and their targets, as MMPose's data loader would.

    Args:
        model: Config of `small_estimator`.
        keypoints: (B, K, 2) in pixels of the input.
        visible: (B, K) visibilities.
        seed: Of the noise.
    """
    encoder = dict(type="SegmentationTarget", codec=model["head"]["decoder"], radius=2.0)
    generate = TRANSFORMS.build(dict(type="GenerateTarget", encoder=encoder))
    pack = TRANSFORMS.build(dict(type="PackPoseInputs", meta_keys=()))
    rng = np.random.default_rng(seed)
    width, height = model["head"]["decoder"]["input_size"]
    packed = [
        pack(
            generate(
                dict(
                    img=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
                    transformed_keypoints=points[None].astype(np.float32),
                    keypoints=points[None].astype(np.float32),
                    keypoints_visible=seen[None].astype(np.float32),
                    dataset_keypoint_weights=np.ones(len(points), np.float32),
                )
            )
        )
        for points, seen in zip(keypoints, visible)
    ]
    return {key: [sample[key] for sample in packed] for key in ("inputs", "data_samples")}

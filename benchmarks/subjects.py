# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What is measured: models with random weights, batches, pictures with boxes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.structures import PoseDataSample
from torch import nn

from sgpose.datasets import toy_sample

#: Guided configs, relative to the folder of configs.
CONFIGS = {
    "W16 128x96": "sg_hrnet/lspet/td-hm_sghrnet-w16_1xb32-60e_lspet-128x96.py",
    "W32 256x192": "sg_hrnet/coco/td-hm_sghrnet-w32_8xb64-210e_coco-256x192.py",
    "W32 384x288": "sg_hrnet/coco/td-hm_sghrnet-w32_8xb64-210e_coco-384x288.py",
}
PICTURE_SIZE = (640, 480)


def read_config(configs: Path, name: str, guided: bool = True) -> Config:
    """Return a config of ``CONFIGS`` without pretrained weights; unguided: its plain twin."""
    cfg = Config.fromfile(configs / CONFIGS[name])
    cfg.model.backbone.init_cfg = None
    cfg.load_from = None
    if not guided:
        cfg.model.backbone.type, cfg.model.head.type = "HRNet", "HeatmapHead"
        for key in ("segmentation_loss", "loss_weighting"):
            cfg.model.head.pop(key, None)
    return cfg


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config with random weights that depend on nothing else."""
    init_default_scope("mmpose")
    MMLogger.get_instance("mmengine").setLevel(logging.ERROR)  # it lists each weight
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg.model))
    model.init_weights()
    return model


def training_codec(cfg: Config):
    """Build the codec of a config's training pipeline."""
    (encoder,) = (t.encoder for t in cfg.train_pipeline if t.type == "GenerateTarget")
    return KEYPOINT_CODECS.build(encoder)


def training_batch(cfg: Config, batch_size: int) -> dict:
    """Return a batch of noise with persons of random keypoints, as a data loader gives it."""
    rng = np.random.default_rng(0)
    codec = training_codec(cfg)
    width, height = size = cfg.codec.input_size
    count = cfg.model.head.out_channels
    samples = []
    for _ in range(batch_size):
        keypoints = rng.uniform(0, size, (1, count, 2)).astype(np.float32)
        target = codec.encode(keypoints, np.ones((1, count), np.float32))
        sample = PoseDataSample(metainfo=dict(input_size=size))
        sample.gt_fields = PixelData(
            heatmaps=torch.from_numpy(target["heatmaps"]),
            segmentation=torch.from_numpy(target["segmentation"]),
        )
        weights = torch.from_numpy(target["keypoint_weights"])
        sample.gt_instance_labels = InstanceData(keypoint_weights=weights)
        samples.append(sample)
    images = rng.integers(0, 255, (batch_size, 3, height, width), dtype=np.uint8)
    return dict(inputs=list(torch.from_numpy(images)), data_samples=samples)


def training_step(cfg: Config, batch: dict) -> Callable[[], dict]:
    """Return a function that trains a new model of a config one step on a batch."""
    model = build_model(cfg).train()
    wrapper: OptimWrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    return lambda: model.train_step(batch, wrapper)


def picture(index: int, persons: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture of 640x480, drawn people side by side, and boxes (persons, 4) in it.

    Where there are more boxes than people, they are moved by some pixels.
    """
    canvas = np.zeros((PICTURE_SIZE[1], PICTURE_SIZE[0], 3), np.uint8)
    boxes = []
    for column in range(4):
        drawing, annotation = toy_sample(index, column)
        scale = 160 / drawing.shape[1]
        part = cv2.resize(drawing, None, fx=scale, fy=scale)[: PICTURE_SIZE[1], :160]
        canvas[: part.shape[0], 160 * column : 160 * column + part.shape[1]] = part
        x, y, w, h = np.array(annotation["bbox"]) * scale
        boxes.append([x + 160 * column, y, x + w + 160 * column, y + h])
    shifts = np.arange(persons)[:, None] // 4 * 3.0
    return canvas, (np.array(boxes)[np.arange(persons) % 4] + shifts).astype(np.float32)

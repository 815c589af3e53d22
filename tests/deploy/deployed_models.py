# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Shipped configs with few channels, and models of them with random weights."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.apis import init_model
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
PLAIN = TOY.with_name("td-hm_hrnet-w16_1xb16-25e_toy-128x96.py")


def stage(*channels: int, block: str = "BASIC") -> dict:
    count = len(channels)
    blocks = (1,) * count
    return dict(
        num_modules=1, num_branches=count, block=block, num_blocks=blocks, num_channels=channels
    )


EXTRA = dict(
    stage1=stage(8, block="BOTTLENECK"),
    stage2=stage(8, 16),
    stage3=stage(8, 16, 24),
    stage4=stage(8, 16, 24, 32),
)
CODECS = {
    "unbiased": dict(unbiased=True),
    "plain": dict(unbiased=False),
    "udp": dict(_delete_=True, type="UDPHeatmap", input_size=(96, 128), heatmap_size=(24, 32)),
    "simcc": dict(_delete_=True, type="SimCCLabel", input_size=(96, 128), sigma=4.0),
}


def small_config(codec: str = "unbiased", config: Path = TOY) -> Config:
    """Return a shipped config with few channels and one of ``CODECS``."""
    cfg = Config.fromfile(config)
    head = dict(in_channels=8, decoder=dict(CODECS[codec]))  # MMEngine takes `_delete_` out
    if codec == "simcc":
        head.update(
            _delete_=True,
            type="SGSimCCHead",
            out_channels=17,
            input_size=(96, 128),
            in_featuremap_size=(24, 32),
            simcc_split_ratio=2.0,
            deconv_out_channels=None,
            loss=dict(type="KLDiscretLoss", use_target_weight=True),
            decoder={k: v for k, v in CODECS["simcc"].items() if k != "_delete_"},
        )
    cfg.merge_from_dict(dict(model=dict(backbone=dict(extra=EXTRA), head=head)))
    if codec == "udp":
        cfg.model.test_cfg.shift_heatmap = False
        for transform in cfg.test_dataloader.dataset.pipeline:
            if transform.type == "TopdownAffine":
                transform.use_udp = True
    return cfg


def random_model(cfg: Config) -> nn.Module:
    """Build a model whose batch normalisations do something and whose heatmaps reach about 1."""
    torch.manual_seed(0)
    init_default_scope("mmpose")
    model = init_model(cfg, device="cpu")
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    final = model.head.final_layer
    nn.init.normal_(final.weight, std=1 / math.sqrt(final.in_channels))
    nn.init.ones_(final.bias)
    return model

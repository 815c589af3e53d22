# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .segmentation_guided_module import Kernel


class SpatialAttention(nn.Module):
    """Logits of CBAM's spatial attention: conv7x7 over the channels' mean and largest value.

    CBAM, section 3.2, https://arxiv.org/abs/1807.06521.

    Args:
        init_bias: Bias of the logits at the start.

    Shape:
        (B, C, H, W) -> (B, 1, H, W).
    """

    def __init__(self, init_bias: float = 0.0) -> None:
        super().__init__()
        self.conv = Kernel((1, 2, 7, 7), init_bias)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return F.conv2d(pooled, self.conv.weight, self.conv.bias, padding=3)

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .segmentation_guided_module import Kernel


class SpatialAttention(nn.Module):
    """Logits of CBAM's spatial attention: conv7x7 over the channels' mean and largest value.

    CBAM, section 3.2, https://arxiv.org/abs/1807.06521. No mask teaches it.

    Args:
        init_bias: Bias of the logits at the start.
        kernel_size: Size of the kernel, odd; 7 in CBAM.

    Shape:
        (B, C, H, W) -> (B, 1, H, W).
    """

    def __init__(self, init_bias: float = 0.0, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = Kernel((1, 2, kernel_size, kernel_size), init_bias)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        weight = self.conv.weight
        return F.conv2d(pooled, weight, self.conv.bias, padding=weight.shape[-1] // 2)

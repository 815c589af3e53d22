# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from sgpose.models import SGHRNet
from sgpose.models.layers.segmentation_guided_module import Kernel


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


@MODELS.register_module()
class SpatialAttentionHRNet(SGHRNet):
    """HRNet with CBAM's spatial attention in the places of SG-HRNet's guides.

    The implicit attention to compare the guides with: give the head ``segmentation_loss=None``,
    else the masks teach it.

    Args:
        args, guide_init_bias, kwargs: Those of :class:`SGHRNet`.
    """

    def __init__(self, *args, guide_init_bias: float = 0.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        with torch.random.fork_rng(devices=[]):
            self.guides = nn.ModuleDict(
                {name: SpatialAttention(guide_init_bias) for name in self.guides}
            )

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from sgpose.models import SegmentationGuidedModule, SGHRNet
from sgpose.models.layers import Kernel


class SpatialAttention(SegmentationGuidedModule):
    """CBAM's spatial attention in the place of a guide: conv7x7 over channels' mean and largest.

    CBAM, section 3.2, https://arxiv.org/abs/1807.06521.

    Args:
        op, init_bias, detach: See :class:`SegmentationGuidedModule`.
    """

    padding = 3

    def __init__(self, op: str, init_bias: float, detach: bool) -> None:
        super().__init__(1, op, detach=detach)
        self.conv = Kernel(1, 2, 7, 7, bias=init_bias)
        del self.proj

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Return weight (1, 2, 7, 7) and bias (1,)."""
        return self.conv.weight, self.conv.bias

    def fold(self) -> None:
        """Do nothing: there is one kernel."""

    def predict(self, source: Tensor) -> Tensor:
        """Predict the logits (B, 1, h, w) of the map from features (B, C, h, w)."""
        pooled = torch.cat([source.mean(1, keepdim=True), source.amax(1, keepdim=True)], dim=1)
        return F.conv2d(pooled, *self.kernel(), padding=self.padding)


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
                {
                    name: SpatialAttention(guide.op, guide_init_bias, guide.detach)
                    for name, guide in self.guides.items()
                }
            )

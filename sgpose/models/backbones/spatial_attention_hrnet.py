# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import torch
from mmpose.registry import MODELS
from torch import nn

from ..layers import SpatialAttention
from .sg_hrnet import SGHRNet


@MODELS.register_module()
class SpatialAttentionHRNet(SGHRNet):
    """HRNet with CBAM's spatial attention in the places of SG-HRNet's guides.

    The implicit attention to compare the guides with: give the head ``segmentation_loss=None``,
    else the masks teach it.

    Args:
        args, guide_init_bias, kwargs: Those of :class:`SGHRNet`, but for what is said of several
            maps, ``guide_source='all_branches'`` and ``guide_kernel_size``.

    Raises:
        ValueError: If an argument asks for several maps or sources, or is none of its options.
    """

    def __init__(self, *args, guide_init_bias: float = 0.0, **kwargs) -> None:
        for name, only in (("num_maps", 1), ("guide_kernel_size", 3)):
            if kwargs.get(name, only) != only:
                raise ValueError(
                    f"CBAM's attention is one map by its own kernel: leave out {name}, "
                    f"got {kwargs[name]}"
                )
        if kwargs.get("guide_source") == "all_branches":
            raise ValueError(
                "CBAM's attention sees one feature map: guide_source must be 'stage_input' or "
                "'branch_output', got 'all_branches'"
            )
        super().__init__(*args, **kwargs)
        with torch.random.fork_rng(devices=[]):
            self.guides = nn.ModuleDict(
                {name: SpatialAttention(guide_init_bias) for name in self.guides}
            )

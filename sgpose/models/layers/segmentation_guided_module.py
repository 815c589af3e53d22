# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Segmentation guided module (SGM).

A 3x3 and a 1x1 convolution predict a one-channel segmentation map from a feature map, and the map
weights a feature map at each position: paper, section 3.2 and eq. 4,
https://doi.org/10.18280/ts.410522.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GUIDE_OPS = ("multiply", "residual", "none")


def compose_convs(
    conv_weight: Tensor, conv_bias: Tensor, proj_weight: Tensor, proj_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Compose a convolution and the 1x1 convolution behind it into one convolution.

    Both are linear and nothing lies between them, so the composition is exact, at the borders too
    as long as the 1x1 convolution has no padding.

    Args:
        conv_weight: (M, C, k, k).
        conv_bias: (M,).
        proj_weight: (O, M), the 1x1 kernel.
        proj_bias: (O,).

    Returns:
        Weight (O, C, k, k) and bias (O,) of the composed convolution.
    """
    weight = torch.einsum("om,mcij->ocij", proj_weight, conv_weight)
    return weight, proj_weight @ conv_bias + proj_bias


def guide_features(features: Tensor, logits: Tensor, op: str, detach: bool = False) -> Tensor:
    """Weight a feature map with a segmentation map (paper, eq. 4).

    Args:
        features: (B, C, h, w).
        logits: (B, 1, h, w) segmentation logits; s = sigmoid(logits) is the map.
        op: "multiply": s * features, as in the paper. "residual": (1 + s) * features.
            "none": the features unchanged, so that the map is supervised but guides nothing.
        detach: Pass no gradient from the product to the map.

    Returns:
        (B, C, h, w).
    """
    if op == "none":
        return features
    attention = (logits.detach() if detach else logits).sigmoid()
    return features * attention if op == "multiply" else features + features * attention


def check_guide_op(op: str) -> None:
    """Raise a ValueError unless ``op`` is one of ``GUIDE_OPS``."""
    if op not in GUIDE_OPS:
        raise ValueError(f"guide_op must be one of {GUIDE_OPS}, got {op!r}")


class Kernel(nn.Module):
    """Weight and bias of a convolution that is never run by itself.

    It is no convolution layer, so that MMEngine's per-layer initialisers neither overwrite it nor
    draw random numbers for it; its bias has the name by which optimizer settings know one.

    Args:
        shape: Shape of the weight, the output channels first.
        bias: The bias at the start.
    """

    def __init__(self, shape: tuple[int, ...], bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.full(shape[:1], float(bias)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))


class SegmentationGuidedModule(nn.Module):
    """Predict segmentation logits from a feature map: conv3x3 (C -> C), conv1x1 (C -> 1).

    The two kernels are trained, but only their composition is ever convolved with the features.

    Args:
        channels: Channels C of the feature map.
        init_bias: Bias of the logits at the start. 0 starts the map near 0.5 everywhere.

    Shape:
        (B, C, H, W) -> (B, 1, H, W).
    """

    def __init__(self, channels: int, init_bias: float = 0.0) -> None:
        super().__init__()
        self.channels = channels
        self.conv = Kernel((channels, channels, 3, 3))
        self.proj = Kernel((1, channels), init_bias)

    @property
    def folded(self) -> bool:
        """Whether only the composed kernel is kept."""
        return "weight" in self._parameters

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Return weight (1, C, 3, 3) and bias (1,) of the composed convolution."""
        if self.folded:
            return self.weight, self.bias
        return compose_convs(self.conv.weight, self.conv.bias, self.proj.weight, self.proj.bias)

    @torch.no_grad()
    def fold(self) -> SegmentationGuidedModule:
        """Keep only the composed kernel, in place. The outputs stay the same."""
        if not self.folded:
            weight, bias = self.kernel()
            del self.conv, self.proj
            self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, *self.kernel(), padding=1)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, folded={self.folded}"


def build_guides(channels: dict[str, int], init_bias: float = 0.0) -> nn.ModuleDict:
    """Build one :class:`SegmentationGuidedModule` per name, leaving the global random state as it
    was, so that a guided network and its plain twin of the same seed start alike.

    Args:
        channels: Channels of the feature map from which each guide predicts.
        init_bias: Bias of the logits at the start.
    """
    with torch.random.fork_rng(devices=[]):
        return nn.ModuleDict(
            {name: SegmentationGuidedModule(c, init_bias) for name, c in channels.items()}
        )

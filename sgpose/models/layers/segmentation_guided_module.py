# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Segmentation guided module (SGM): predict a segmentation map and gate features with it.

Paper, section 3.2 and eq. 4: https://doi.org/10.18280/ts.410522
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils import check_folded_alike

#: What a map s in [0, 1] does to features x: the paper's eq. 4, a residual form of it, nothing.
GUIDE_OPS = dict(
    multiply=lambda x, s: x * s,
    residual=lambda x, s: x + x * s,
    none=lambda x, s: x,
)


class Kernel(nn.Module):
    """Weight and bias of a convolution that is never run by itself.

    It is no convolution layer, so that MMEngine's per-layer initialisers neither overwrite it nor
    draw random numbers for it; its bias has the name by which optimizer settings know one.

    Args:
        shape: Shape of the weight, the output channels first.
        bias: The bias at the start.
    """

    def __init__(self, *shape: int, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.full(shape[:1], float(bias)))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))


def compose(conv: Kernel, proj: Kernel) -> tuple[Tensor, Tensor]:
    """Compose a convolution and the 1x1 convolution behind it into one, exactly.

    Both are linear and nothing lies between them.

    Args:
        conv: Weight (C, C', k, k), bias (C,).
        proj: Weight (M, C), bias (M,).

    Returns:
        Weight (M, C', k, k) and bias (M,).
    """
    weight = (proj.weight @ conv.weight.flatten(1)).unflatten(1, conv.weight.shape[1:])
    return weight, F.linear(conv.bias, proj.weight, proj.bias)


class SegmentationGuidedModule(nn.Module):
    """Predict a segmentation map from one feature map and gate another with it.

    The map is conv3x3 (C -> C), conv1x1 (C -> 1), sigmoid, without activation between the two
    convolutions: both kernels are trained, but only their composition is convolved.

    Args:
        channels: Channels C of the feature map from which the map is predicted.
        op: ``'multiply'``: s * x, the paper's eq. 4. ``'residual'``: (1 + s) * x. ``'none'``: x,
            so that the map is only supervised.
        init_bias: Bias of the logits at the start. 0 starts the map near 0.5 everywhere.
        detach: Pass no gradient from the gated features to the map.

    Raises:
        ValueError: If ``op`` is none of these.

    Example:
        >>> guide = SegmentationGuidedModule(32)
        >>> x = torch.randn(2, 32, 64, 48)
        >>> gated, logits = guide(x, source=x)
        >>> gated.shape, logits.shape
        (torch.Size([2, 32, 64, 48]), torch.Size([2, 1, 64, 48]))
    """

    padding = 1

    def __init__(
        self, channels: int, op: str = "multiply", init_bias: float = 0.0, detach: bool = False
    ) -> None:
        super().__init__()
        if op not in GUIDE_OPS:
            raise ValueError(f"guide_op must be one of {tuple(GUIDE_OPS)}, got {op!r}")
        self.op = op
        self.detach = detach
        self.conv = Kernel(channels, channels, 3, 3)
        self.proj = Kernel(1, channels, bias=init_bias)

    def forward(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gated ``x`` (B, C, h, w) and the logits (B, 1, h, w) of the map."""
        logits = self.predict(source)
        return self.gate(x, logits), logits

    def predict(self, source: Tensor) -> Tensor:
        """Predict the logits (B, 1, h, w) of the map from features (B, C, h, w)."""
        return F.conv2d(source, *self.kernel(), padding=self.padding)

    def gate(self, x: Tensor, logits: Tensor) -> Tensor:
        """Gate features (B, C, h, w) with the map of these logits (B, 1, h, w)."""
        s = (logits.detach() if self.detach else logits).sigmoid()
        return GUIDE_OPS[self.op](x, s)

    @property
    def folded(self) -> bool:
        """Whether only the composed kernel is kept."""
        return "weight" in self._parameters

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Return weight (1, C, 3, 3) and bias (1,) of the composed convolution."""
        return (self.weight, self.bias) if self.folded else compose(self.conv, self.proj)

    @torch.no_grad()
    def fold(self) -> None:
        """Keep only the composed kernel, in place. The outputs stay the same."""
        if not self.folded:
            weight, bias = self.kernel()
            del self.conv, self.proj
            self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        check_folded_alike(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


def build_guides(channels: Mapping[str, int], **options) -> nn.ModuleDict:
    """Build a guide for each name, leaving the global random state as it was, so that a guided
    network and its plain twin of the same seed start alike.

    Args:
        channels: Name to the channels of the feature map from which the guide predicts.
        options: The other arguments of :class:`SegmentationGuidedModule`.
    """
    with torch.random.fork_rng(devices=[]):
        return nn.ModuleDict(
            {name: SegmentationGuidedModule(c, **options) for name, c in channels.items()}
        )

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Segmentation guided module (SGM).

A 3x3 and a 1x1 convolution predict a one-channel segmentation map from a feature map, and the map
weights a feature map at each position: paper, section 3.2 and eq. 4,
https://doi.org/10.18280/ts.410522.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GUIDE_OPS = ("multiply", "residual", "modulate", "none")


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


def conv_by_shifts(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve 3x3 to few channels: a 1x1 convolution to nine maps for each, shifted and summed.

    Equals ``F.conv2d(x, weight, bias, padding=1)`` up to rounding. PyTorch's float32 kernels for
    the CPU run forward and backward 2 to 6 times faster in this form, see docs/speed.md.

    Args:
        x: (B, C, H, W).
        weight: (M, C, 3, 3).
        bias: (M,).

    Returns:
        (B, M, H, W).
    """
    taps = weight.flip(2, 3).permute(0, 2, 3, 1).reshape(-1, x.shape[1], 1, 1)
    maps = F.fold(F.conv2d(x, taps).flatten(2), x.shape[2:], kernel_size=3, padding=1)
    return maps + bias[:, None, None]


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (B, M, h, w) bilinearly to (B, M, H, W), where ``size`` is H and W."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def guide_features(features: Tensor, logits: Tensor, op: str, detach: bool = False) -> Tensor:
    """Weight a feature map with a segmentation map (paper, eq. 4).

    Args:
        features: (B, C, h, w).
        logits: (B, 1, h, w) segmentation logits; s = sigmoid(logits) is the map.
        op: "multiply": s * features, as in the paper. "residual": (1 + s) * features.
            "none": the features unchanged, so that the maps (any number of them) are supervised
            but guide nothing.
        detach: Pass no gradient from the product to the map.

    Returns:
        (B, C, h, w).

    Raises:
        ValueError: If ``op`` is none of these.
    """
    if op == "none":
        return features
    attention = (logits.detach() if detach else logits).sigmoid()
    if op == "multiply":
        return features * attention
    if op == "residual":
        return features + features * attention
    raise ValueError(f"op must be 'multiply', 'residual' or 'none', got {op!r}")


def check_guide_op(op: str, num_maps: int = 1) -> None:
    """Raise a ValueError unless ``op`` is one of ``GUIDE_OPS`` and can take that many maps."""
    if op not in GUIDE_OPS:
        raise ValueError(f"guide_op must be one of {GUIDE_OPS}, got {op!r}")
    if num_maps < 1:
        raise ValueError(f"num_maps must be a positive number of maps, got {num_maps}")
    if num_maps > 1 and op in ("multiply", "residual"):
        raise ValueError(
            f"guide_op={op!r} weights the features with one map, got num_maps={num_maps}: use "
            "'modulate'"
        )


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
    """Predict segmentation logits from a feature map: conv3x3 (C -> C), conv1x1 (C -> M).

    The two kernels are trained, but only their composition is ever convolved with the features.

    Args:
        channels: Channels C of the feature map.
        init_bias: Bias of the logits at the start. 0 starts the map near 0.5 everywhere.
        num_maps: Number of maps M; one in the paper.
        kernel_size: Size of the first kernel, odd; 3 in the paper.

    Shape:
        (B, C, H, W) -> (B, M, H, W).
    """

    def __init__(
        self, channels: int, init_bias: float = 0.0, num_maps: int = 1, kernel_size: int = 3
    ) -> None:
        super().__init__()
        self.channels = channels
        self.num_maps = num_maps
        self.kernel_size = kernel_size
        self.conv = Kernel((channels, channels, kernel_size, kernel_size))
        self.proj = Kernel((num_maps, channels), init_bias)

    @property
    def folded(self) -> bool:
        """Whether only the composed kernel is kept."""
        return "weight" in self._parameters

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Return weight (M, C, k, k) and bias (M,) of the composed convolution."""
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
        weight, bias = self.kernel()
        trains = torch.is_grad_enabled() and not self.folded
        if self.kernel_size == 3 and trains and x.device.type == "cpu" and x.dtype == torch.float32:
            return conv_by_shifts(x, weight, bias)
        return F.conv2d(x, weight, bias, padding=self.kernel_size // 2)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Load weights that are folded as the module is; others would leave it half random.

        Raises:
            ValueError: If the weights are folded and the module is not, or the reverse.
        """
        given = {key for key in state_dict if key.startswith(prefix)}
        if given and (prefix + "weight" in given) != self.folded:
            raise ValueError(
                f"{prefix[:-1]}: the weights are of a model that fold_guides folded, the model is "
                "not: load them with load_checkpoint(fold_guides(init_model(config)), file)"
                if not self.folded
                else f"{prefix[:-1]}: the model is folded, the weights are not: load them first, "
                "then fold_guides(model)"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, folded={self.folded}"


class MultiResolutionGuide(nn.ModuleList):
    """Predict segmentation logits from the branches of an HRNet stage, coarse ones included.

    One :class:`SegmentationGuidedModule` per branch; their logits, enlarged bilinearly to the
    first branch's size, are summed. The coarse branches see more of the image.

    Args:
        channels: Channels of each branch, the highest resolution first.
        init_bias, num_maps, kernel_size: See :class:`SegmentationGuidedModule`.

    Shape:
        [(B, C_i, H_i, W_i), ...] -> (B, M, H_0, W_0).
    """

    def __init__(
        self,
        channels: Sequence[int],
        init_bias: float = 0.0,
        num_maps: int = 1,
        kernel_size: int = 3,
    ) -> None:
        super().__init__(
            SegmentationGuidedModule(c, init_bias if i == 0 else 0.0, num_maps, kernel_size)
            for i, c in enumerate(channels)
        )

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        return sum(resize_maps(guide(y), x[0].shape[-2:]) for guide, y in zip(self, x))


class GuideModulation(nn.Module):
    """Scale and shift each channel of a feature map by the segmentation maps at each position.

    ``features * (1 + W s) + V s`` with s = sigmoid(logits): feature-wise linear modulation
    (https://arxiv.org/abs/1709.07871) by maps instead of by a vector. W and V start at zero, so
    that the features start unchanged.

    Args:
        channels: Channels C of the feature map.
        num_maps: Number of maps M.

    Shape:
        (B, C, H, W), (B, M, H, W) -> (B, C, H, W).
    """

    def __init__(self, channels: int, num_maps: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels, num_maps, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, num_maps, 1, 1))

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        maps = logits.sigmoid()
        return features + features * F.conv2d(maps, self.scale) + F.conv2d(maps, self.shift)


def build_guides(
    channels: dict[str, int | Sequence[int]],
    init_bias: float = 0.0,
    num_maps: int = 1,
    kernel_size: int = 3,
) -> nn.ModuleDict:
    """Build one guide per name, leaving the global random state as it was, so that a guided
    network and its plain twin of the same seed start alike.

    Args:
        channels: Channels of the feature map from which each guide predicts, or of each of its
            branches for a :class:`MultiResolutionGuide`.
        init_bias: Bias of the guides' logits at the start.
        num_maps: Number of maps of each guide.
        kernel_size: Size of the guides' first kernel.
    """
    with torch.random.fork_rng(devices=[]):
        return nn.ModuleDict(
            {
                name: (SegmentationGuidedModule if isinstance(c, int) else MultiResolutionGuide)(
                    c, init_bias, num_maps, kernel_size
                )
                for name, c in channels.items()
            }
        )

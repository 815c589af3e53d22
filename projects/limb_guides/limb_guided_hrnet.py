# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from sgpose.models import SegmentationGuidedModule, SGHRNet
from sgpose.models.backbones.sg_hrnet import check_option, fuse_branches
from sgpose.models.layers import Kernel


class LimbMaps(SegmentationGuidedModule):
    """Predict the logits of M maps from one feature map: conv kxk (C -> C), conv1x1 (C -> M).

    Args:
        channels: Channels C of the feature map.
        num_maps: Number of maps M.
        kernel_size: Size k of the first kernel, odd.
        init_bias: Bias of the logits at the start.
    """

    def __init__(
        self, channels: int, num_maps: int, kernel_size: int = 3, init_bias: float = 0.0
    ) -> None:
        super().__init__(channels, op="none")
        self.padding = kernel_size // 2
        self.conv = Kernel(channels, channels, kernel_size, kernel_size)
        self.proj = Kernel(num_maps, channels, bias=init_bias)


class MultiResolutionGuide(nn.ModuleList):
    """Predict maps from the branches of an HRNet stage, coarse ones included.

    The logits of one :class:`LimbMaps` per branch, enlarged bilinearly to the first branch's
    size, are summed. The coarse branches see more of the image.

    Args:
        channels: Channels of each branch, the highest resolution first.
        op: ``'none'`` where the maps are only supervised, for those who fold the network.
        num_maps, kernel_size, init_bias: See :class:`LimbMaps`.

    Shape:
        [(B, C_i, H_i, W_i), ...] -> (B, M, H_0, W_0).
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_maps: int,
        kernel_size: int = 3,
        init_bias: float = 0.0,
        op: str = "modulate",
    ) -> None:
        super().__init__(
            LimbMaps(c, num_maps, kernel_size, 0.0 if i else init_bias)
            for i, c in enumerate(channels)
        )
        self.op = op

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        return sum(resize(guide.predict(y), x[0].shape[-2:]) for guide, y in zip(self, x))


class GuideModulation(nn.Module):
    """Scale and shift each channel of a feature map by the maps at each position.

    ``features * (1 + W s) + V s`` with s = sigmoid(logits): feature-wise linear modulation
    (https://arxiv.org/abs/1709.07871) by maps instead of by a vector. W and V start at zero, so
    that the features start unchanged.

    Args:
        channels: Channels C of the feature map.
        num_maps: Number of maps M.

    Shape:
        (B, C, H, W), (B, M, h, w) -> (B, C, H, W).
    """

    def __init__(self, channels: int, num_maps: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels, num_maps, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, num_maps, 1, 1))

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        maps = resize(logits, features.shape[-2:]).sigmoid()
        return features + features * F.conv2d(maps, self.scale) + F.conv2d(maps, self.shift)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (B, M, h, w) bilinearly to (B, M, H, W), where ``size`` is H and W."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


@MODELS.register_module()
class LimbGuidedHRNet(SGHRNet):
    """HRNet guided by several maps, such as one per limb, that modulate each channel.

    The maps of a stage are predicted from its inputs at all resolutions. Stages differ from
    :class:`SGHRNet`'s in where the maps act and how.

    Args:
        num_maps: Number of maps of each guide, the number of limbs.
        guide_stages: The guided places, as in SGHRNet.
        guide_op: ``'modulate'``, see :class:`GuideModulation`, or ``'none'``.
        guide_target: ``'branch_output'``, as in SGHRNet, or ``'stage_inputs'``, the inputs of one
            module of the stage at all resolutions, so that all its convolutions work on guided
            features. The maps of ``'out'`` are then only supervised.
        guide_module: The module of a stage in which its guide acts, ``'last'`` or ``'first'``.
        guide_kernel_size: Size of the guides' kernels, 3 or 1.
        guide_init_bias: Bias of the guides' logits at the start.
        args, kwargs: HRNet's own.

    Raises:
        ValueError: If an argument is none of its options.
    """

    def __init__(
        self,
        *args,
        num_maps: int,
        guide_stages: Sequence[int | str] = (2, 3, 4, "out"),
        guide_op: str = "modulate",
        guide_target: str = "branch_output",
        guide_module: str = "last",
        guide_kernel_size: int = 3,
        guide_init_bias: float = 0.0,
        **kwargs,
    ) -> None:
        check_option("guide_op", guide_op, ("modulate", "none"))
        check_option("guide_target", guide_target, ("branch_output", "stage_inputs"))
        check_option("guide_module", guide_module, ("last", "first"))
        if num_maps < 1:
            raise ValueError(f"num_maps must be a positive number of maps, got {num_maps}")
        if guide_kernel_size not in (1, 3):
            raise ValueError(f"guide_kernel_size must be 1 or 3, got {guide_kernel_size}")
        super().__init__(*args, guide_stages=guide_stages, **kwargs)
        self.guide_target = guide_target
        self.guide_module = guide_module
        places = {name: int(name[5:]) if name != "out" else name for name in self.guides}
        channels = {name: self.branch_channels(place) for name, place in places.items()}
        self.guides = nn.ModuleDict()
        self.modulations = nn.ModuleDict()
        with torch.random.fork_rng(devices=[]):
            for name, branches in channels.items():
                supervised_only = name == "out" and guide_target == "stage_inputs"
                self.guides[name] = MultiResolutionGuide(
                    branches,
                    num_maps,
                    guide_kernel_size,
                    guide_init_bias,
                    op="none" if supervised_only else guide_op,
                )
        for name, guide in self.guides.items():
            if guide.op == "modulate":
                self.modulations[name] = (
                    GuideModulation(channels[name][0], num_maps)
                    if guide_target == "branch_output"
                    else nn.ModuleList(GuideModulation(c, num_maps) for c in channels[name])
                )

    def _stage(self, stage: int, x: list[Tensor], logits: list[Tensor]) -> list[Tensor]:
        name, modules = f"stage{stage}", getattr(self, f"stage{stage}")
        if name not in self.guides:
            return modules(x)
        logits.append(self.guides[name](x))
        acting = 0 if self.guide_module == "first" else len(modules) - 1
        for i, module in enumerate(modules):
            if i != acting or name not in self.modulations:
                x = module(x)
            elif self.guide_target == "stage_inputs":
                x = module([m(y, logits[-1]) for m, y in zip(self.modulations[name], x)])
            else:
                branches = [branch(y) for branch, y in zip(module.branches, x)]
                branches[0] = self.modulations[name](branches[0], logits[-1])
                x = fuse_branches(module, branches)
        return x

    def _output(self, x: list[Tensor], logits: list[Tensor]) -> list[Tensor]:
        if "out" in self.guides:
            logits.append(self.guides["out"](x))
            if "out" in self.modulations:
                x[0] = self.modulations["out"](x[0], logits[-1])
        return x

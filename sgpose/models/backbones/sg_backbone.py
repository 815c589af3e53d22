# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

from ..layers import GuidedFeatures, Pack, build_guides
from ..utils import accept_wrapped_keys

# Height and width. Every MMPose backbone of images runs on it, and feature maps, being twice as
# wide as high, differ from channel-last outputs.
PROBE_SIZE = (128, 256)


class GuidedOutputs(nn.Module):
    """What :func:`SGBackbone` makes of a backbone's class: gates some of its outputs.

    Returns of forward:
        :class:`GuidedFeatures`: The backbone's outputs, a tuple also where it returns one tensor,
        which carry the segmentation logits in the order of the outputs.
    """

    pack: Pack = GuidedFeatures  # of a folded network: a plain tuple
    guides: nn.ModuleDict

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs, logits = list(_as_tuple(super().forward(x))), []
        for name, guide in self.guides.items():
            features = outputs[int(name)]
            outputs[int(name)], predicted = guide(features, source=features)
            logits.append(predicted)
        return self.pack(outputs, logits)

    def train(self, mode: bool = True) -> GuidedOutputs:
        """Set the training mode as the backbone does; return self, as PyTorch's modules do."""
        super().train(mode)
        return self

    def __reduce__(self) -> tuple:
        return _empty, (type(self).__bases__[1],), self.__dict__


@functools.cache
def guided_class(backbone: type) -> type:
    """Return the class of such backbones with guided outputs."""
    return type(f"Guided{backbone.__name__}", (GuidedOutputs, backbone), {})


def _empty(backbone: type) -> nn.Module:
    cls: Any = guided_class(backbone)
    return cls.__new__(cls)


@MODELS.register_module()
def SGBackbone(
    backbone: dict,
    guide_indices: Sequence[int] = (-1,),
    guide_op: str = "multiply",
    guide_init_bias: float = 0.0,
    detach_guide: bool = False,
    init_cfg: dict | None = None,
) -> nn.Module:
    """Guide the outputs of any backbone by segmentation maps.

    From each chosen output a :class:`SegmentationGuidedModule` predicts a map that gates that
    output (paper, section 3.2, https://doi.org/10.18280/ts.410522). Only outputs are guided; to
    guide HRNet between its stages use :class:`SGHRNet`.

    The result is the backbone itself, of a class that gates its outputs: parameters keep their
    names, and what goes by them (checkpoints of the plain backbone or estimator, learning rates by
    layer, ``custom_keys``) finds them; its methods stay, and with the same seed every tensor starts
    with the same values as without guides.

    The mask that supervises the maps may be finer than they are: the guided heads resize the maps
    bilinearly. A codec with heatmaps gives the mask their size; one without (SimCC) needs
    ``SegmentationTarget(mask_size=(W, H))``. The radius is in pixels of the mask: the paper's 5
    at 1/4 of the input size are 20 pixels of the input, 2.5 at 1/8 and 0.6 at 1/32. A radius
    below 0.71 can miss every pixel, so a mask as coarse as a stride-32 output needs about 1.

    Args:
        backbone (dict): Config of the backbone.
        guide_indices: The guided ones of the backbone's outputs, negative ones counted from the
            last. Defaults to the last, from which most heads predict.
        guide_op: ``'multiply'`` (the paper), ``'residual'`` or ``'none'`` (auxiliary supervision
            only), see :class:`SegmentationGuidedModule`.
        guide_init_bias: Bias of the guides' logits at the start.
        detach_guide: Pass no gradient from the gated features to the maps.
        init_cfg (dict, optional): Initialisation config instead of the backbone's own. Defaults to
            None.

    Returns:
        The backbone, a :class:`GuidedOutputs`.

    Raises:
        ValueError: If a guide argument is none of its options, a guided output of the backbone
            is no feature map (B, C, h, w), or the backbone has guides already.

    Example:
        >>> backbone = MODELS.build(
        ...     dict(type="SGBackbone", backbone=dict(type="ResNet", depth=18), guide_op="none")
        ... )
        >>> features = backbone(torch.zeros(1, 3, 128, 96))
        >>> features[0].shape, features.segmentation_logits[0].shape
        (torch.Size([1, 512, 4, 3]), torch.Size([1, 1, 4, 3]))
    """
    plain = MODELS.build(backbone if init_cfg is None else dict(backbone, init_cfg=init_cfg))
    outputs = probe(plain, backbone.get("in_channels", 3))
    channels = {i: _channels(outputs[i], i) for i in _positive(guide_indices, len(outputs))}
    plain.guides = build_guides(
        {str(i): c for i, c in channels.items()},
        op=guide_op,
        init_bias=guide_init_bias,
        detach=detach_guide,
    )
    cls: type = type(plain)
    plain.__class__ = guided_class(cls)
    accept_wrapped_keys(plain, "backbone")
    return plain


@torch.no_grad()
def probe(backbone: nn.Module, in_channels: int) -> tuple:
    """Run a copy of a backbone on a black image of ``PROBE_SIZE`` in evaluation mode.

    Neither the backbone nor the global random state changes.

    Args:
        backbone: The backbone.
        in_channels: Channels of the image.

    Returns:
        The outputs, as a tuple.

    Raises:
        ValueError: If it fails, or the backbone is guided already.
    """
    name = type(backbone).__name__
    if hasattr(backbone, "guides"):
        raise ValueError(f"{name} is guided already: use it without SGBackbone")
    twin = copy.deepcopy(backbone)
    twin.eval()
    with torch.random.fork_rng(devices=[]):
        try:
            outputs = twin(torch.zeros(1, in_channels, *PROBE_SIZE))
        except Exception as error:
            raise ValueError(
                f"{name} cannot be guided by SGBackbone: to find the channels of its outputs it "
                f"was run on a black image (1, {in_channels}, {PROBE_SIZE[0]}, {PROBE_SIZE[1]}), "
                f"which failed: {error}"
            ) from error
    return _as_tuple(outputs)


def _as_tuple(outputs: Tensor | Sequence) -> tuple:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _positive(indices: Sequence[int], count: int) -> list[int]:
    """Return indices counted from the first, in ascending order."""
    positive = sorted({i % count for i in indices if -count <= i < count})
    if not positive or len(positive) != len(indices):
        raise ValueError(
            f"guide_indices must be different ones of the backbone's {count} outputs, out of "
            f"{-count} to {count - 1}, got {tuple(indices)}; a backbone's out_indices say which "
            "of its stages are outputs"
        )
    return positive


def _channels(output: Tensor, index: int) -> int:
    """Return the channels of a feature map, or raise a ValueError if it is none."""
    if isinstance(output, Tensor) and output.ndim == 4:
        (channels, h, w), (height, width) = output.shape[1:], PROBE_SIZE
        if abs(h - w * height / width) < 1 or abs(w - h * width / height) < 1:
            return channels
    given = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise ValueError(
        f"SGBackbone guides feature maps (B, C, h, w); output {index} of the backbone is {given} "
        f"for an image of {PROBE_SIZE[0]}x{PROBE_SIZE[1]} (height x width). Tokens, channel-last "
        "maps and nested lists cannot be guided: let the backbone return feature maps "
        "(out_type='featmap' in MMPretrain's transformers), or guide another output"
    )

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor


class GuidedFeatures(tuple):
    """Feature maps that carry the segmentation logits of the guides that shaped them.

    It is a tuple of feature maps like any MMPose backbone's, so that any head or neck takes it.
    Code that rebuilds tuples from their items alone gets one without logits, which guided heads
    refuse.

    Args:
        features: Feature maps, each (B, C, h, w).
        segmentation_logits: One (B, M, h, w) of M maps per guide, in the order of the network.

    Example:
        >>> features = GuidedFeatures([torch.ones(1, 8, 4, 3)], [torch.zeros(1, 1, 4, 3)])
        >>> len(features), features.segmentation_logits[0].shape
        (1, torch.Size([1, 1, 4, 3]))
    """

    segmentation_logits: tuple[Tensor, ...]

    def __new__(
        cls, features: Iterable[Tensor], segmentation_logits: Iterable[Tensor] = ()
    ) -> GuidedFeatures:
        self = super().__new__(cls, features)
        self.segmentation_logits = tuple(segmentation_logits)
        return self

    def __getnewargs__(self) -> tuple:
        return tuple(self), self.segmentation_logits


#: Makes a backbone's output of its features and the logits of its guides.
Pack = Callable[[Iterable[Tensor], Iterable[Tensor]], tuple]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor


class GuidedFeatures(tuple):
    """Feature maps that carry the segmentation logits of the guides that shaped them.

    It is a tuple of feature maps like any MMPose backbone's, so that any head or neck takes it.

    Args:
        features: Feature maps, each (B, C, h, w).
        segmentation_logits: One (B, M, h, w) of M maps per guide, in the order of the network.
    """

    segmentation_logits: tuple[Tensor, ...]

    def __new__(
        cls, features: Iterable[Tensor], segmentation_logits: Iterable[Tensor]
    ) -> GuidedFeatures:
        self = super().__new__(cls, features)
        self.segmentation_logits = tuple(segmentation_logits)
        return self

    def __getnewargs__(self) -> tuple:
        return tuple(self), self.segmentation_logits

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import ClassVar

from mmengine.logging import print_log
from torch import Tensor

#: Passes with gradients after which it is said that nothing supervises the maps.
UNREAD = 20


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

    _logits: tuple[Tensor, ...]
    _unread: ClassVar[int] = 0  # of these with gradients, one after the other

    def __new__(
        cls, features: Iterable[Tensor], segmentation_logits: Iterable[Tensor] = ()
    ) -> GuidedFeatures:
        self = super().__new__(cls, features)
        self._logits = tuple(segmentation_logits)
        if any(x.requires_grad for x in self._logits):
            GuidedFeatures._count()
        return self

    @property
    def segmentation_logits(self) -> tuple[Tensor, ...]:
        """The logits. Who reads them supervises them, or has decided not to."""
        GuidedFeatures._unread = 0
        return self._logits

    def beside(self, features: Iterable[Tensor]) -> GuidedFeatures:
        """Return other feature maps that carry the same logits."""
        return GuidedFeatures(features, self._logits)

    @classmethod
    def _count(cls) -> None:
        cls._unread += 1
        if cls._unread == UNREAD:
            print_log(
                "the segmentation maps of the guides are supervised by nothing: no head has read "
                f"their logits in {UNREAD} passes with gradients. Guided heads do, in their loss "
                "(SGHeatmapHead, or SegmentationGuidedHeadMixin before a head of your own); a "
                "distiller that calls head.forward has to call head.loss. If it is meant to be so, "
                "take a guided head with segmentation_loss=None",
                logger="current",
                level=logging.WARNING,
            )

    def __getnewargs__(self) -> tuple:
        return tuple(self), self._logits


#: Makes a backbone's output of its features and the logits of its guides.
Pack = Callable[[Iterable[Tensor], Iterable[Tensor]], tuple]

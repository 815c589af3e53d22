# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .segmentation_guided_head import (
    SegmentationGuidedHeadMixin,
    SGHeatmapHead,
    SGRTMCCHead,
    SGSimCCHead,
)

__all__ = ["SGHeatmapHead", "SGRTMCCHead", "SGSimCCHead", "SegmentationGuidedHeadMixin"]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .._compat import check_stack

check_stack()

from .backbones import GuidedOutputs, SGBackbone, SGHRNet
from .heads import SegmentationGuidedHeadMixin, SGHeatmapHead, SGRTMCCHead, SGSimCCHead
from .layers import GuidedFeatures, SegmentationGuidedModule
from .losses import DynamicWeightAverage, SegmentationLoss
from .necks import GuidedNeck

__all__ = [
    "DynamicWeightAverage",
    "GuidedFeatures",
    "GuidedNeck",
    "GuidedOutputs",
    "SGBackbone",
    "SGHRNet",
    "SGHeatmapHead",
    "SGRTMCCHead",
    "SGSimCCHead",
    "SegmentationGuidedHeadMixin",
    "SegmentationGuidedModule",
    "SegmentationLoss",
]

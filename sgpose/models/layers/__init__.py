# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .guided_features import GuidedFeatures
from .segmentation_guided_module import (
    GuideModulation,
    MultiResolutionGuide,
    SegmentationGuidedModule,
    build_guides,
    check_guide_op,
    compose_convs,
    conv_by_shifts,
    guide_features,
    resize_maps,
)

__all__ = [
    "GuideModulation",
    "MultiResolutionGuide",
    "GuidedFeatures",
    "SegmentationGuidedModule",
    "build_guides",
    "check_guide_op",
    "compose_convs",
    "conv_by_shifts",
    "guide_features",
    "resize_maps",
]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .guided_features import GuidedFeatures
from .segmentation_guided_module import (
    SegmentationGuidedModule,
    build_guides,
    check_guide_op,
    compose_convs,
    guide_features,
)

__all__ = [
    "GuidedFeatures",
    "SegmentationGuidedModule",
    "build_guides",
    "check_guide_op",
    "compose_convs",
    "guide_features",
]

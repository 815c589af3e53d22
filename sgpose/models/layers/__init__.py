# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .guided_features import GuidedFeatures, Pack
from .segmentation_guided_module import (
    GUIDE_OPS,
    Kernel,
    SegmentationGuidedModule,
    build_guides,
    compose,
)

__all__ = [
    "GUIDE_OPS",
    "GuidedFeatures",
    "Kernel",
    "Pack",
    "SegmentationGuidedModule",
    "build_guides",
    "compose",
]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .._compat import check_stack

check_stack()

from .fast_msra_heatmap import FastMSRAHeatmap
from .gaussian_heatmaps import gaussian_heatmaps, unbiased_gaussian_heatmaps
from .masks import keypoint_discs
from .segmentation_target import SegmentationTarget

__all__ = [
    "FastMSRAHeatmap",
    "SegmentationTarget",
    "gaussian_heatmaps",
    "keypoint_discs",
    "unbiased_gaussian_heatmaps",
]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .._compat import check_stack

check_stack()

from .segmentation_target import SegmentationTarget, keypoint_discs

__all__ = ["SegmentationTarget", "keypoint_discs"]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .._compat import check_stack

check_stack()

from .guide_values import guides_at_keypoints
from .keypoint_error_types import KeypointErrorTypes, error_types
from .per_keypoint_pck import PerKeypointPCK

__all__ = ["KeypointErrorTypes", "PerKeypointPCK", "error_types", "guides_at_keypoints"]

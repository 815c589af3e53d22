# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What the study of SG-HRNet needs beside sgpose; importing it registers all of it in MMPose."""

import sgpose  # noqa: F401
from projects import limb_guides  # noqa: F401

from .darken_outside_box import DarkenOutsideBox
from .keypoint_error_types import KeypointErrorTypes
from .paste_people import PastePeople
from .sg_cpm_head import SGCPMHead
from .spatial_attention_hrnet import SpatialAttention, SpatialAttentionHRNet

__all__ = [
    "DarkenOutsideBox",
    "KeypointErrorTypes",
    "PastePeople",
    "SGCPMHead",
    "SpatialAttention",
    "SpatialAttentionHRNet",
]

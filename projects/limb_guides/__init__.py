# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Masks of limbs that modulate the inputs of HRNet's stages: see README.md."""

from .limb_guided_hrnet import GuideModulation, LimbGuidedHRNet, LimbMaps, MultiResolutionGuide
from .limb_target import LimbTarget, limb_capsules

__all__ = [
    "GuideModulation",
    "LimbGuidedHRNet",
    "LimbMaps",
    "LimbTarget",
    "MultiResolutionGuide",
    "limb_capsules",
]

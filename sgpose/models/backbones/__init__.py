# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .sg_backbone import GuidedOutputs, SGBackbone
from .sg_hrnet import SGHRNet

__all__ = ["GuidedOutputs", "SGBackbone", "SGHRNet"]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .sg_backbone import SGBackbone
from .sg_hrnet import SGHRNet

__all__ = ["SGBackbone", "SGHRNet"]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .sg_hrnet import SGHRNet

__all__ = ["SGHRNet"]

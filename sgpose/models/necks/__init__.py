# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .guided_neck import GuidedNeck

__all__ = ["GuidedNeck"]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .load_image_once import LoadImageOnce

__all__ = ["LoadImageOnce"]

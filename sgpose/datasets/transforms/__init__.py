# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .load_image_once import LoadImageOnce
from .paste_people import PastePeople

__all__ = ["LoadImageOnce", "PastePeople"]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .darken_outside_box import DarkenOutsideBox
from .load_image_once import LoadImageOnce
from .paste_people import PastePeople

__all__ = ["DarkenOutsideBox", "LoadImageOnce", "PastePeople"]

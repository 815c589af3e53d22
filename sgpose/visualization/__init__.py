# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .._compat import check_stack

check_stack()

from .attention import guide_maps_in_image, paint_map
from .sg_local_visualizer import SGLocalVisualizer
from .training_pictures_hook import TrainingPicturesHook

__all__ = ["SGLocalVisualizer", "TrainingPicturesHook", "guide_maps_in_image", "paint_map"]

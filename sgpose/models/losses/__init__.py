# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .dynamic_weight_average import DynamicWeightAverage, dwa_weights
from .segmentation_loss import SegmentationLoss

__all__ = ["DynamicWeightAverage", "SegmentationLoss", "dwa_weights"]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .auto_loss_weight import AutoLossWeight
from .dynamic_weight_average import DynamicWeightAverage, dwa_weights
from .segmentation_loss import SegmentationLoss

__all__ = ["AutoLossWeight", "DynamicWeightAverage", "SegmentationLoss", "dwa_weights"]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from mmpose.models.heads import CPMHead
from mmpose.registry import MODELS

from sgpose.models import SegmentationGuidedHeadMixin


@MODELS.register_module()
class SGCPMHead(SegmentationGuidedHeadMixin, CPMHead):
    """The guided head of Hourglass and of other networks with heatmaps in each stage."""

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor

from ..layers import GuidedFeatures
from ..utils import accept_unwrapped_keys


@MODELS.register_module()
class GuidedNeck(BaseModule):
    """Run any neck and carry the segmentation logits of its input through.

    MMPose's necks return plain lists or tensors, which would lose the logits that a guided head
    needs. Checkpoints of the plain neck load.

    Args:
        neck (dict): Config of the neck.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Example:
        >>> neck = dict(type="GuidedNeck", neck=dict(type="FeatureMapProcessor", concat=True))
    """

    def __init__(self, neck: dict, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.neck = MODELS.build(neck)
        accept_unwrapped_keys(self, "neck")

    def forward(self, feats: GuidedFeatures) -> GuidedFeatures:
        """Run the neck.

        Raises:
            TypeError: If the features carry no segmentation logits.
        """
        if not isinstance(feats, GuidedFeatures):
            raise TypeError(
                f"GuidedNeck needs features that carry segmentation logits, got "
                f"{type(feats).__name__}: use a guided backbone (SGHRNet, SGBackbone) before it, "
                "or the plain neck"
            )
        out = self.neck(feats)
        return feats.beside([out] if isinstance(out, Tensor) else out)

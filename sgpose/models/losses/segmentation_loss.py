# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from .auto_loss_weight import AutoLossWeight

#: The paper's lambda.
LOSS_WEIGHT = 0.002


@MODELS.register_module()
class SegmentationLoss(nn.Module):
    """Binary cross entropy of N segmentation maps with one target (paper, eq. 6 and 7).

    The mean over maps, batch and pixels, times the paper's lambda. (The paper sums over pixels, as
    it does in the heatmap loss; MMPose averages both, which leaves their ratio as it is.)

    With ``loss_weight='auto'`` this is the mean itself, and ``auto_weight`` tells the guided head
    what to multiply it with so that it is as large as the keypoint loss in the first steps.

    Args:
        loss_weight: The paper's lambda, >= 0, or ``'auto'``, see :class:`AutoLossWeight`, which
            takes the paper's 0.002 where the keypoint loss is not positive. Defaults to 0.002.

    Example:
        >>> loss = SegmentationLoss(loss_weight=1.0)
        >>> loss([torch.zeros(1, 1, 4, 3)], torch.ones(1, 1, 4, 3))  # ln 2
        tensor(0.6931)
    """

    def __init__(self, loss_weight: float | str = LOSS_WEIGHT) -> None:
        super().__init__()
        auto = loss_weight == "auto"
        if not auto and (isinstance(loss_weight, str) or not loss_weight >= 0):
            raise ValueError(
                f"loss_weight must not be negative, got {loss_weight!r}: a number >= 0, or 'auto'"
            )
        self.loss_weight = loss_weight
        self.auto_weight = AutoLossWeight(otherwise=LOSS_WEIGHT) if auto else None

    def forward(self, logits: Sequence[Tensor], target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: N tensors of shape (B, M, H, W), N >= 1; M is 1 in the paper.
            target: (B, M, H, W) in [0, 1].

        Returns:
            The scalar loss, in float32 also where the logits are in half precision.

        Raises:
            ValueError: If there is no map, or one whose shape is not the target's.
        """
        shapes = [tuple(x.shape) for x in logits]
        if not shapes or set(shapes) != {tuple(target.shape)}:
            raise ValueError(
                f"SegmentationLoss needs one or more logits of the target's shape "
                f"{tuple(target.shape)}, got {shapes}"
            )
        losses = [F.binary_cross_entropy_with_logits(x.float(), target.float()) for x in logits]
        loss = torch.stack(losses).mean()
        return loss if isinstance(self.loss_weight, str) else self.loss_weight * loss

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor

from .training_state import TrainingState


class AutoLossWeight(TrainingState):
    """The weight that brings a loss to the magnitude of another, found in the first steps.

    The paper's lambda "adjusts the magnitude so that both losses are of the same magnitude"
    (section 3.4, https://doi.org/10.18280/ts.410522). Here it is the geometric mean of
    ``reference / loss`` over the first training steps so far, and does not change after them. The
    geometric mean, since one step with a loss ten times its usual value, as the first ones of an
    optimizer have them, changes it by 5 % where it would change the arithmetic mean by 18 %.

    Losses are averaged over all ranks before they are compared. A step in which one of them is 0
    (no labelled keypoint) or not finite is left out. Where the reference was negative, or nothing
    could be compared, there is no magnitude to speak of: the weight is then ``otherwise``. What
    was found is logged once. All of it lives in buffers, so that a resumed run goes on with the
    same weight, and it costs one wait for the device, in the last of these steps.

    Args:
        otherwise: Weight where the losses cannot be compared, and before the first step, >= 0.
        steps: Number of training steps in which the weight is found, >= 1. Defaults to 50.
    """

    log_ratio: Tensor
    num_compared: Tensor
    num_negative: Tensor
    num_steps: Tensor

    def __init__(self, otherwise: float, steps: int = 50) -> None:
        super().__init__()
        self.otherwise = otherwise
        self.steps = steps
        self.register_buffer("log_ratio", torch.zeros(()))  # sum over the steps compared
        self.register_buffer("num_compared", torch.zeros((), dtype=torch.long))
        self.register_buffer("num_negative", torch.zeros((), dtype=torch.long))
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.long))
        self._steps_done = 0  # num_steps, for which the device need not be asked

    def forward(self, reference: Tensor, loss: Tensor) -> Tensor:
        """Return the weight of a step and, in the first ones of a training, find it.

        Args:
            reference: Scalar loss whose magnitude is to be reached.
            loss: Scalar loss to be weighted, >= 0.

        Returns:
            The scalar weight, without gradient: what to multiply ``loss`` with.
        """
        if self.training and self._steps_done < self.steps:
            self._record(torch.stack([reference.detach().float(), loss.detach().float()]))
            if self._steps_done == self.steps:
                self._log()
        return self.weight()

    def weight(self) -> Tensor:
        """Return the scalar weight as far as it is known."""
        mean = (self.log_ratio / self.num_compared.clamp(min=1)).exp()
        known = (self.num_compared > 0) & (self.num_negative == 0)
        return torch.where(known, mean, torch.full_like(mean, self.otherwise))

    @torch.no_grad()
    def _record(self, losses: Tensor) -> None:
        all_reduce(losses, op="mean")
        finite = losses.isfinite().all()
        compared = finite & (losses > 0).all()
        reference, loss = torch.where(compared, losses, torch.ones_like(losses)).log()
        self.log_ratio += reference - loss
        self.num_compared += compared
        self.num_negative += finite & (losses[0] < 0)
        self.num_steps += 1
        self._steps_done += 1

    def _log(self) -> None:
        weight, compared, negative = (
            float(x) for x in (self.weight(), self.num_compared, self.num_negative)
        )
        if compared and not negative:
            print_log(
                f"loss_weight='auto': {weight:.4g} from now on, the mean ratio of keypoint and "
                f"segmentation loss in {compared:.0f} steps",
                logger="current",
            )
            return
        reason = "was not positive" if negative else "was 0 or not finite"
        print_log(
            f"loss_weight='auto': {self.otherwise} from now on, since the keypoint loss {reason} "
            f"in the first {self.steps} steps, and its magnitude says nothing. Set a number that "
            "suits your losses",
            logger="current",
            level=logging.WARNING,
        )

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._steps_done = int(self.num_steps)

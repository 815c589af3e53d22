# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from mmpose.registry import MODELS
from torch import Tensor

from .training_state import TrainingState


def dwa_weights(latest: Tensor, previous: Tensor, temperature: float = 1.0) -> Tensor:
    """Weight N tasks by how slowly their losses fall (paper, eq. 8-10).

    ``w_n = N * softmax_n(r_n / T)`` with ``r_n = latest_n / previous_n``: the task whose loss
    falls faster gets the smaller weight. Introduced with averages over epochs and a temperature
    by Liu et al., https://arxiv.org/abs/1803.10704.

    Args:
        latest: (N,) finite losses of the last interval.
        previous: (N,) finite losses of the interval before. Where one of both is not positive
            there is no rate of descent to speak of, and the ratio is taken as 1.
        temperature: T > 0. Larger values make the weights more alike.

    Returns:
        (N,) weights >= 0 with sum N.
    """
    positive = (latest > 0) & (previous > 0)
    ratio = torch.where(positive, latest / previous, torch.ones_like(latest))
    scaled = (ratio / temperature).nan_to_num()
    return len(latest) * scaled.softmax(dim=0)


@MODELS.register_module()
class DynamicWeightAverage(TrainingState):
    """Weight the losses of several tasks by their rates of descent (paper, eq. 7-10).

    One step is one training forward. The losses of a step are averaged over all ranks, then over
    the steps of an interval; the weights follow from the last two complete intervals and are 1
    until there are two. A step with a non-finite loss is left out of the history. Outside
    training the history stays as it is. All of it lives in buffers, so that a resumed run goes on
    with the same weights, and no step waits for the device.

    Negative logarithms of likelihoods (RLELoss) cross zero, around which a ratio of two losses
    means nothing. From the first step in which a task's loss is negative its ratio stays 1, which
    is said once, when the training mode is set next (after the epoch).

    A checkpoint that is loaded without being resumed brings its history along too: for up to two
    intervals the weights then follow from the earlier run.

    Args:
        tasks: Names of the N tasks. Defaults to ('keypoint', 'segmentation').
        temperature: See :func:`dwa_weights`. Defaults to 1.0, as in the paper.
        interval: Steps per interval, >= 1. Defaults to 1, as in the paper.

    Raises:
        ValueError: If there are no tasks or a name stands twice, the temperature is not positive,
            or the interval is not a positive integer.

    Example:
        >>> weighting = DynamicWeightAverage()
        >>> weighting.weights()
        {'keypoint': tensor(1.), 'segmentation': tensor(1.)}
    """

    history: Tensor
    running_sum: Tensor
    num_steps: Tensor
    num_intervals: Tensor
    num_negative: Tensor

    def __init__(
        self,
        tasks: Sequence[str] = ("keypoint", "segmentation"),
        temperature: float = 1.0,
        interval: int = 1,
    ) -> None:
        super().__init__()
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError(f"tasks must be one or more different names, got {tuple(tasks)}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if interval != int(interval) or interval < 1:
            raise ValueError(f"interval must be a positive number of steps, got {interval}")
        self.tasks = tuple(tasks)
        self.temperature = temperature
        self.interval = int(interval)
        # rows: mean losses of the last complete interval and of the one before
        self.register_buffer("history", torch.zeros(2, len(tasks)))
        self.register_buffer("running_sum", torch.zeros(len(tasks)))
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.long))  # in this interval
        self.register_buffer("num_intervals", torch.zeros((), dtype=torch.long))
        # steps in which the loss was negative
        self.register_buffer("num_negative", torch.zeros(len(tasks), dtype=torch.long))
        self._warned = False

    def weights(self) -> dict[str, Tensor]:
        """Return the scalar weight of each task in the coming step, without gradient."""
        latest, previous = self.history.masked_fill(self.num_negative > 0, 0)
        warm = self.num_intervals >= 2
        weights = dwa_weights(latest, previous, self.temperature)
        weights = torch.where(warm, weights, torch.ones_like(weights))
        return dict(zip(self.tasks, weights))

    def forward(
        self, losses: dict[str, Tensor], weights: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Weight the losses of one step and, in training, record them.

        Args:
            losses: A scalar loss for each task, in any order.
            weights: What :meth:`weights` returned for this step, if it was asked already.

        Returns:
            The weighted losses in the order given.

        Raises:
            ValueError: If the names are not those of the tasks.
        """
        if set(losses) != set(self.tasks):
            raise ValueError(
                f"DynamicWeightAverage weights the tasks {self.tasks}, got losses for "
                f"{tuple(losses)}"
            )
        weights = weights or self.weights()
        if self.training:
            self._record(torch.stack([losses[task].detach().float() for task in self.tasks]))
        return {task: weights[task] * loss for task, loss in losses.items()}

    @torch.no_grad()
    def _record(self, losses: Tensor) -> None:
        all_reduce(losses, op="mean")
        finite = losses.isfinite().all()
        self.num_negative += finite & (losses < 0)
        total = self.running_sum + losses.nan_to_num(0, 0, 0) * finite
        self.num_steps += finite
        complete = finite & (self.num_steps >= self.interval)
        shifted = torch.stack([total / self.num_steps.clamp(min=1), self.history[0]])
        self.history.copy_(torch.where(complete, shifted, self.history))
        self.running_sum.copy_(total * ~complete)
        self.num_steps *= ~complete
        self.num_intervals += complete

    def train(self, mode: bool = True) -> DynamicWeightAverage:
        """Set the mode; warn if a loss has been negative, which is looked up here alone."""
        super().train(mode)
        if not self._warned and self.num_negative.any():
            self._warned = True
            negative = [task for task, n in zip(self.tasks, self.num_negative) if n]
            print_log(
                f"DynamicWeightAverage: the loss of {', '.join(negative)} has been negative, as "
                "likelihoods (RLELoss) may be; its rate of descent cannot be told and counts as 1. "
                "loss_weighting=None takes fixed weights",
                logger="current",
                level=logging.WARNING,
            )
        return self

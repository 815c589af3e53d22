# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Faster training on CPUs: bfloat16 autocast and channels-last memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16CPUOptimWrapper(OptimWrapper):
    """Train under bfloat16 autocast on the CPU, where MMEngine's AmpOptimWrapper needs a GPU.

    bfloat16 has float32's range, so that no loss is scaled. MMPose's training accuracy cannot
    read it: set ``model.train_cfg.compute_acc=False``. Validation stays in float32.

    The arguments are those of ``OptimWrapper``.

    Example:
        >>> optim_wrapper = dict(
        ...     type="BFloat16CPUOptimWrapper", optimizer=dict(type="Adam", lr=1e-3)
        ... )
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast("cpu", torch.bfloat16):
            yield


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep the model's convolution kernels in channels-last memory, and with them its features.

    The values stay the same; oneDNN and cuDNN convolve this layout faster.

    Example:
        >>> custom_hooks = [dict(type="ChannelsLastHook")]
    """

    def before_run(self, runner) -> None:
        runner.model.to(memory_format=torch.channels_last)

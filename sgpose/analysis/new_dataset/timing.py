# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""How long an epoch takes on this machine, from one short step."""

from __future__ import annotations

import os
import tempfile
import time

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmpose.registry import DATASETS, MODELS

from ..check_config import quiet, shortened
from .presets import Machine

#: Samples of the timed step on a CPU; a GPU takes the whole batch.
CPU_SAMPLES = 4


def this_machine() -> Machine:
    """The memory of the GPU that PyTorch uses, and the cores this process may use."""
    gpu = (
        torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else 0
    )
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return Machine(gpu, cores)


def seconds_per_epoch(cfg: Config, samples_per_epoch: int) -> float:
    """Estimate the duration of one epoch of training.

    A few samples are loaded and trained on once to warm up and once under the clock, from weights
    at random. Validation and checkpoints are not counted.

    Args:
        cfg: A config; it is left as it is.
        samples_per_epoch: Their number.
    """
    cfg = cfg.copy()
    init_default_scope(cfg.get("default_scope", "mmpose"))
    set_random_seed(0)
    with quiet(), tempfile.TemporaryDirectory() as folder:
        dataset = DATASETS.build(shortened(cfg.train_dataloader.dataset, folder))
    batch, device = cfg.train_dataloader.batch_size, get_device()
    used = batch if device != "cpu" else min(batch, CPU_SAMPLES)
    start = time.perf_counter()
    samples = [dataset[i % len(dataset)] for i in range(min(used, 16))]
    loading = (time.perf_counter() - start) / len(samples)
    samples = [samples[i % len(samples)] for i in range(used)]
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)

    def step() -> float:
        begin = time.perf_counter()
        data = dict(
            inputs=[sample["inputs"] for sample in samples],
            data_samples=[sample["data_samples"] for sample in samples],
        )
        data = model.data_preprocessor(data, True)
        losses = model(**data, mode="loss")
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    step()
    computing = step() / used
    loading /= max(1, cfg.train_dataloader.num_workers)
    each = computing + loading if device == "cpu" else max(computing, loading)
    return each * samples_per_epoch


def human(seconds: float) -> str:
    """A duration in words: "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

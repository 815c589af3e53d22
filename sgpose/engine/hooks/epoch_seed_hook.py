# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import logging
from functools import partial

import numpy as np
from mmengine.dataset import worker_init_fn
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, set_random_seed
from mmpose.registry import HOOKS


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Derive the seed of an epoch on a rank.

    Args:
        seed: The run's seed, >= 0.
        epoch: The epoch, from 0.
        rank: The rank.

    Returns:
        A seed in [0, 2**31), which leaves room for the workers' numbers below NumPy's 2**32.
    """
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1)[0] >> 1)


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Make what is drawn at random in an epoch follow from the run's seed and the epoch alone.

    MMEngine saves no random state, and seeds its data workers with the run's seed whenever they
    start: a resumed run draws other numbers than one that was never interrupted, and workers that
    are not persistent repeat the first epoch's in every epoch. This hook seeds Python, NumPy and
    PyTorch before each epoch and lets the data workers start anew with the epoch's seed,
    persistent ones too (a ``worker_init_fn`` of your own is kept). A run that is resumed at the
    end of an epoch then goes on, on a CPU bit for bit, as if it had never ended; the order of the
    data included where the run's seed was not set but drawn, and is found in the checkpoint.

    Gradients that were accumulated but not yet applied at the end of an epoch are not in
    MMEngine's checkpoints and are lost on resuming. Runs counted in iterations are not made
    exact: MMEngine skips data there by itself.

    Example:
        >>> default_hooks = dict(epoch_seed=dict(type="EpochSeedHook"))
    """

    priority = "VERY_LOW"  # what other hooks draw before the epoch is forgotten

    def before_train(self, runner) -> None:
        """Give the sampler the seed of the resumed run, which MMEngine finds after building it."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            print_log(
                f"EpochSeedHook makes runs counted in epochs resume exactly; "
                f"{type(runner.train_loop).__name__} will not",
                logger="current",
                level=logging.WARNING,
            )
        loader = runner.train_dataloader
        for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
            if sampler is not None and hasattr(sampler, "seed"):
                sampler.seed = runner.seed

    def before_train_epoch(self, runner) -> None:
        """Seed this process and the data workers to come."""
        seed = epoch_seed(runner.seed, runner.epoch, get_rank())
        set_random_seed(seed)
        loader = runner.train_dataloader
        if getattr(loader.worker_init_fn, "func", None) is worker_init_fn:
            loader.worker_init_fn = partial(loader.worker_init_fn, rank=0, seed=seed)
        loader._iterator = None  # persistent workers would go on with their old state

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .._compat import check_stack

check_stack()

from .atomic_backend import AtomicBackend
from .cpu_training import BFloat16CPUOptimWrapper, ChannelsLastHook
from .hooks import AtomicCheckpointHook, EpochSeedHook

__all__ = [
    "AtomicBackend",
    "AtomicCheckpointHook",
    "BFloat16CPUOptimWrapper",
    "ChannelsLastHook",
    "EpochSeedHook",
]

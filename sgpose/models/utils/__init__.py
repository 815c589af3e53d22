# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Keys of checkpoints: which fit, and what to say of those that do not."""

from .loaded_weights import check_folded_alike, check_loaded_weights
from .unwrapped_keys import accept_unwrapped_keys, accept_wrapped_keys

__all__ = [
    "accept_unwrapped_keys",
    "accept_wrapped_keys",
    "check_folded_alike",
    "check_loaded_weights",
]

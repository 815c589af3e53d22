# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from functools import partial

from torch import nn


def accept_unwrapped_keys(wrapper: nn.Module, child: str) -> None:
    """Let a wrapper load checkpoints of the bare module that it wraps.

    A key of the checkpoint that the wrapper does not know, but would with ``child`` before it, gets
    that level; all others, the wrapper's own above all, stay as they are.

    Args:
        wrapper: The module that wraps.
        child: Name of the attribute that holds the wrapped module.
    """
    wrapper._register_load_state_dict_pre_hook(partial(_add_level, child), with_module=True)


def _add_level(child: str, wrapper: nn.Module, state_dict: dict, prefix: str, *args) -> None:
    own = {prefix + name for name in wrapper.state_dict()}
    inner = f"{prefix}{child}."
    for key in [k for k in state_dict if k.startswith(prefix) and k not in own]:
        wrapped = inner + key[len(prefix) :]
        if wrapped in own:
            state_dict[wrapped] = state_dict.pop(key)

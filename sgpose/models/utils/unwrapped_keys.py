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


def accept_wrapped_keys(module: nn.Module, child: str) -> None:
    """Let a module load checkpoints of a wrapper that once held it.

    A key of the checkpoint that the module does not know, but would without ``child`` before it,
    loses that level.

    Args:
        module: The module that was wrapped.
        child: Name of the attribute that held it.
    """
    module._register_load_state_dict_pre_hook(partial(_drop_level, child), with_module=True)


def _drop_level(child: str, module: nn.Module, state_dict: dict, prefix: str, *args) -> None:
    own = {prefix + name for name in module.state_dict()}
    outer = f"{prefix}{child}."
    for key in [k for k in state_dict if k.startswith(outer) and k not in own]:
        bare = prefix + key[len(outer) :]
        if bare in own:
            state_dict[bare] = state_dict.pop(key)

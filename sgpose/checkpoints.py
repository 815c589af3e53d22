# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""MMEngine's checkpoints beside PyTorch >= 2.6.

Since 2.6 ``torch.load`` unpickles tensors and plain containers alone, unless it is told to trust
the file. The checkpoints of MMEngine 0.10 also hold NumPy numbers and the history of the logs, and
MMEngine has no option for trust: it cannot reload what it saved. Here these few kinds are allowed,
each in the narrowest form that MMEngine writes; whatever else a file asks for stays refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial, wraps
from pickle import UnpicklingError

import mmengine.runner.checkpoint
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, load_from_http, load_from_local
from mmengine.utils import digit_version

TRUST = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
STATISTICS = ("min", "max", "current", "mean")
NUMBERS = np.typecodes["AllInteger"] + np.typecodes["Float"] + np.typecodes["Complex"] + "?"


def allow_checkpoints_of_mmengine() -> None:
    """Let ``torch.load`` and MMEngine read what MMEngine saves, and nothing that runs code.

    Does nothing where PyTorch is older than 2.6: there MMEngine unpickles whatever a file holds.
    """
    if digit_version(torch.__version__) < digit_version("2.6"):
        return
    # by name: neither it nor a weights_only of None is known to the types of older PyTorch
    getattr(torch.serialization, "add_safe_globals")(safe_globals())  # noqa: B009
    # torch.hub, which loads what MMEngine downloads, would trust every file by default
    load_url: Callable = torch.hub.load_state_dict_from_url
    mmengine.runner.checkpoint.load_url = partial(load_url, weights_only=None)
    CheckpointLoader.register_scheme("", _refusing(load_from_local), force=True)
    CheckpointLoader.register_scheme(["http://", "https://"], _refusing(load_from_http), force=True)


def safe_globals() -> list[tuple[Callable, str]]:
    """Return what a checkpoint may name, each with the name under which pickle asks for it.

    NumPy's own ``dtype`` and ``ndarray`` are not among them: called with arguments of a file's
    choice, both give access to memory that is not theirs.
    """
    scalar = np.float64().__reduce__()[0]
    named = [
        (HistoryBuffer, "mmengine.logging.history_buffer.HistoryBuffer"),
        (statistic, "builtins.getattr"),
        (number_dtype, "numpy.dtype"),
        (empty_array, "numpy.ndarray"),
        (bytes, "builtins.bytes"),  # no bytes at all, the data of an empty array
    ]
    for core in ("numpy.core", "numpy._core"):  # of NumPy 1 and 2
        named += [
            (empty_array, f"{core}.multiarray._reconstruct"),
            (scalar, f"{core}.multiarray.scalar"),
        ]
    # Pickle sets the state of instances of these, but cannot call them: its names hold no newline.
    classes: set[type] = {np.ndarray, *(type(np.dtype(code)) for code in NUMBERS)}
    return named + [(cls, f"{cls.__name__}\n") for cls in classes]


def statistic(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``, by which pickle finds the statistics of MMEngine's HistoryBuffer.

    Raises:
        UnpicklingError: If anything else is asked for.
    """
    if owner is not HistoryBuffer or name not in STATISTICS:
        raise UnpicklingError(
            f"GLOBAL builtins.getattr is answered for {STATISTICS} of HistoryBuffer alone"
        )
    return getattr(HistoryBuffer, name)


def number_dtype(code: str, align: bool = False, copy: bool = False) -> np.dtype:
    """Stand in for ``numpy.dtype``: NumPy's own instance for a number, whose state is fixed.

    Raises:
        UnpicklingError: If the code is not that of a number in this machine's byte order.
    """
    dtype = np.dtype(code)
    if dtype.char not in NUMBERS or dtype.isbuiltin != 1:
        raise UnpicklingError("GLOBAL numpy.dtype is answered for numbers alone")
    return dtype


def empty_array(*args) -> np.ndarray:
    """Stand in for NumPy's makers of arrays: the array's state, which follows, says the rest."""
    return np.empty(0)


def _refusing(loader: Callable) -> Callable:
    """Make a loader of MMEngine say what a refused file asked for and how to trust it."""

    @wraps(loader)
    def load(filename: str, map_location=None):
        try:
            checkpoint = loader(filename, map_location)
        except UnpicklingError as error:
            asked = re.search(r"GLOBAL (\S+)", str(error))
            if asked is None:
                raise
            raise UnpicklingError(
                f"{filename} is refused: it asks for {asked[1]}, which is not among the weights, "
                "numbers and log histories that a checkpoint needs, and which could run any code. "
                f"Only if you trust whoever made the file, set {TRUST}=1 in the environment and "
                "load it again"
            ) from error
        # MMEngine would run it as Python when it resumes; its own checkpoints have none
        meta = checkpoint.get("meta") if isinstance(checkpoint, dict) else None
        if isinstance(meta, dict):
            meta.pop("config", None)
        return checkpoint

    return load

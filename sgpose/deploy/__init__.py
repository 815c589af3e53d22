# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""From a trained model to one that is folded, exported, and run without PyTorch.

Names are imported when they are first used: :class:`OnnxPose` needs neither PyTorch nor MMPose.
"""

import importlib

from .._compat import check_stack

_HOMES = {
    "OnnxPose": "onnx_pose",
    "PoseSpec": "pose_spec",
    "Poses": "poses",
    "export_onnx": "onnx_export",
    "fold_guides": "folding",
}
_NEED_MMPOSE = ("export_onnx", "fold_guides")

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _NEED_MMPOSE:
        check_stack()
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

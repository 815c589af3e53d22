# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""SG-HRNet for MMPose: importing sgpose registers its parts in MMPose's registries.

Where MMPose is not installed, importing sgpose succeeds and registers nothing. The ONNX runtime,
``sgpose.deploy.OnnxPose``, works there; what needs MMPose raises an ImportError that says how to
install it.
"""

import importlib
import os

from ._compat import missing_stack
from .version import __version__

# ONNX Runtime's ready builds (seen in 1.31 and 1.32) record their use in the user's cache folder
# and send it away unless this is set before they are imported, which PyTorch does by itself.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "__version__",
    "codecs",
    "datasets",
    "deploy",
    "engine",
    "evaluation",
    "models",
    "visualization",
]

if missing_stack() is None:
    from . import codecs, datasets, deploy, engine, evaluation, models, registry, visualization  # noqa: F401
    from .checkpoints import allow_checkpoints_of_mmengine

    allow_checkpoints_of_mmengine()
else:

    def __getattr__(name: str):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f"{__name__}.{name}")

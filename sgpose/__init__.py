# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""SG-HRNet for MMPose: importing sgpose registers its parts in MMPose's registries.

What the import does to the process:

1. It imports PyTorch and MMPose, where they are installed, and registers the parts.
2. ``sgpose::`` names sgpose's configs: MMEngine's list of packages gets an entry, and each of
   MMPose's registries an empty child of the scope ``sgpose`` (:mod:`sgpose.registry`).
3. With PyTorch 2.6 or newer, where ``torch.load`` refuses most of what MMEngine saves, the few
   kinds that its checkpoints hold are allowed, and MMEngine's loaders of checkpoints are replaced
   by ones whose error names the way out (:mod:`sgpose.checkpoints`).
4. ``ORT_DISABLE_TELEMETRY=1`` is set in the environment unless it is set already: ONNX Runtime's
   ready builds (seen in 1.31 and 1.32) record their use in the user's cache folder and send it away
   unless this is set before they are imported, which PyTorch does by itself.

Where MMPose is not installed, the import does the last of these alone. The ONNX runtime,
``sgpose.deploy.OnnxPose``, and the page work there. Where an MMPose is installed that cannot be
imported, the same holds and a warning says so. What needs MMPose then raises an ImportError with
what is wrong and the command that mends it.
"""

import importlib
import os
import warnings

from ._compat import check_stack, missing_stack
from .version import __version__

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


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def _register() -> None:
    try:
        check_stack()
    except ImportError as error:
        if missing_stack() is None:
            warnings.warn(f"sgpose registers nothing in MMPose: {error}", stacklevel=3)
        return
    for name in ("codecs", "datasets", "engine", "evaluation", "models", "registry"):
        importlib.import_module(f"{__name__}.{name}")
    importlib.import_module(f"{__name__}.visualization")
    importlib.import_module(f"{__name__}.checkpoints").allow_checkpoints_of_mmengine()


_register()

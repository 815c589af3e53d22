# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Makes ``_base_ = 'sgpose::sg_hrnet/coco/...py'`` work in any config, once sgpose is imported.

MMEngine finds the package behind ``::`` in a fixed list, to which sgpose is added here, and marks
what comes from such a base with the package's name as scope, which it then looks for in the module
``<package>.registry``. So each of MMPose's registries gets an empty child of that scope, which
finds everything, sgpose's own parts too, in its parent.
"""

import mmpose.registry
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry

MODULE2PACKAGE["sgpose"] = "sgpose"

# A registry imports its own locations on first use, never those of its parent.
LOCATIONS = [
    f"mmpose.{name}"
    for name in ("apis", "codecs", "datasets", "engine", "evaluation", "models", "visualization")
]

for _registry in list(vars(mmpose.registry).values()):
    if isinstance(_registry, Registry) and _registry.scope == "mmpose":
        Registry(_registry.name, parent=_registry, scope="sgpose", locations=LOCATIONS)

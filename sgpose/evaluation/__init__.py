# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .._compat import check_stack

check_stack()

from .per_keypoint_pck import PerKeypointPCK

__all__ = ["PerKeypointPCK"]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""From annotations of your own to a checked data set and two configs."""

from .make import Result, new_dataset
from .read import AnnotationError

__all__ = ["AnnotationError", "Result", "new_dataset"]

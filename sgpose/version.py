# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
__version__ = "0.2.0"

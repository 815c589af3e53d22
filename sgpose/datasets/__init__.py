# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .._compat import check_stack

check_stack()

from .lspet_dataset import LspetDataset
from .toy_people import toy_sample, write_toy_people
from .transforms import LoadImageOnce

__all__ = [
    "LoadImageOnce",
    "LspetDataset",
    "toy_sample",
    "write_toy_people",
]

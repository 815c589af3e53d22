# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from .._compat import check_stack

check_stack()

from .lspet_dataset import LspetDataset
from .toy_people import toy_sample, write_toy_people

__all__ = ["LspetDataset", "toy_sample", "write_toy_people"]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Compare configs over several seeds: train and test each, keep records, report differences."""

from .arms import Arm, Study, read_study
from .records import read_records
from .report import write_report
from .runs import compare
from .statistics import PairedDifference, paired_difference

__all__ = [
    "Arm",
    "PairedDifference",
    "Study",
    "compare",
    "paired_difference",
    "read_records",
    "read_study",
    "write_report",
]

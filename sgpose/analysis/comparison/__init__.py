# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Compare configs over several seeds: train and test each, keep records, report differences."""

from .arms import Arm, Study, best_metric, read_study
from .records import read_records
from .report import write_report
from .runs import compare, records_of
from .statistics import PairedDifference, paired_difference

__all__ = [
    "Arm",
    "PairedDifference",
    "Study",
    "best_metric",
    "compare",
    "paired_difference",
    "read_records",
    "records_of",
    "read_study",
    "write_report",
]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Ratios of times, each pair measured side by side; ``python -m benchmarks`` measures them."""

from .report import write_report
from .run import SECTIONS, run_sections
from .timing import Case, Sample, alternate, summarise

__all__ = [
    "SECTIONS",
    "Case",
    "Sample",
    "alternate",
    "run_sections",
    "summarise",
    "write_report",
]

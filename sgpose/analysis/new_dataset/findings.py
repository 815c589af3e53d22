# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What a check finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .read import Table

SEVERITIES = ("error", "warning", "note")
HEADS = {
    "error": "Errors: training would stop, lose these or learn what is wrong",
    "warning": "Warnings: look at these, they are likely mistakes",
    "note": "Notes",
}


@dataclass(frozen=True)
class Finding:
    """One fault and the annotations or images that have it.

    Attributes:
        code: Short name.
        severity: One of ``SEVERITIES``.
        text: What was found.
        todo: What to do about it.
        ids: Ids of what it was found in, as they stand in the file; empty if it is the whole file.
        of: What the ids name, "annotation" or "image".
        mendable: Whether ``--fix`` writes the right value into a copy.
    """

    code: str
    severity: str
    text: str
    todo: str
    ids: tuple = ()
    of: str = "annotation"
    mendable: bool = False


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings, errors first; the order within a severity stays."""
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def finding(
    table: Table,
    rows: np.ndarray,
    code: str,
    severity: str,
    text: str,
    todo: str,
    mendable: bool = False,
) -> list[Finding]:
    """The finding that (N,) bool rows of a table have, or none where no row has it."""
    ids = tuple(table.label(n) for n in np.flatnonzero(rows))
    return [Finding(code, severity, text, todo, ids, mendable=mendable)] if ids else []


def most_common(values: np.ndarray) -> str:
    """Up to five values, the most frequent first."""
    most = Counter(np.asarray(values).tolist()).most_common(5)
    return ", ".join(f"{value:g}" for value, _ in most)

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What is wrong, and what looks mistaken, in a table of annotations.

Each check looks at the table as the checks before it mended it, so that one fault is found once.
Only what has one right value is mended; the table that was given is left as it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import coordinates, sides, structure
from .findings import Finding, by_severity
from .read import Table


def examine(table: Table, picture_sizes: np.ndarray | None = None) -> tuple[list[Finding], Table]:
    """Run every check that needs nothing but the annotations.

    Args:
        table: One split.
        picture_sizes: (M, 2) the pictures' own width and height, NaN where unknown; they stand in
            where the file states none.

    Returns:
        The findings, by severity, and the table with all that is certain mended.
    """
    findings: list[Finding] = []

    def fill_sizes(table):
        stated = (table.image_sizes > 0).all(axis=1, keepdims=True)
        return [], replace(table, image_sizes=np.where(stated, table.image_sizes, picture_sizes))

    for check in (
        structure.names,
        structure.ids,
        *([] if picture_sizes is None else [fill_sizes]),
        structure.references,
        structure.lists,
        coordinates.visibilities,
        coordinates.normalised,
        coordinates.corners,
        structure.stated_numbers,
        coordinates.box_form,
        coordinates.boxes,
        coordinates.outside,
        structure.repeated,
        structure.optional,
        structure.never_labelled,
        sides.sides,
    ):
        found, table = check(table)
        findings += found
    return by_severity(findings), table

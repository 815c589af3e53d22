# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Left and right: are they exchanged in some files, folders, pairs or splits?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from .findings import Finding, finding
from .metainfo import side, swap_indices
from .read import Table


def side_offsets(table: Table) -> np.ndarray:
    """How far left keypoints lie to the right of their partners, seen in the picture.

    Positive for a person that looks into the camera.

    Returns:
        (N, P) offsets in parts of the box's longer side, NaN where one of a pair is not labelled.
    """
    swaps = swap_indices(table.names)
    pairs = [(k, other) for k, other in enumerate(swaps) if other != k and _is_left(table.names[k])]
    left, right = (np.array([pair[i] for pair in pairs], int) for i in (0, 1))
    both = table.labelled[:, left] & table.labelled[:, right]
    size = np.nanmax(
        np.where(table.boxes[:, 2:] > 0, table.boxes[:, 2:], np.nan), axis=1, initial=1
    )
    offsets = table.keypoints[:, left, 0] - table.keypoints[:, right, 0]
    return np.where(both, offsets / size[:, None], np.nan)


def _is_left(name: str) -> bool:
    return side(name) == "left"


def facing_share(offsets: np.ndarray) -> tuple[float, int]:
    """Share of persons with most left keypoints right of the right ones, and how many count."""
    votes = np.nansum(np.sign(np.where(np.abs(offsets) > 0.03, offsets, 0)), axis=1)
    votes = votes[votes != 0]
    return (float((votes > 0).mean()) if len(votes) else float("nan")), len(votes)


def _differs(a: tuple[float, int], b: tuple[float, int]) -> bool:
    (p, n), (q, m) = a, b
    if min(n, m) < 15 or abs(p - q) < 0.35:
        return False
    mean = (p * n + q * m) / (n + m)
    deviation = np.sqrt(max(mean * (1 - mean), 1e-4) * (1 / n + 1 / m))
    return abs(p - q) / deviation > 4


def sides(table: Table) -> tuple[list[Finding], Table]:
    offsets = side_offsets(table)
    findings: list[Finding] = []
    if not offsets.size:
        return findings, table
    signs = np.nan_to_num(np.sign(np.where(np.abs(offsets) > 0.05, offsets, 0)))
    others = signs.sum(axis=1, keepdims=True) - signs
    swaps = swap_indices(table.names)
    lefts = [k for k, o in enumerate(swaps) if o != k and _is_left(table.names[k])]
    for p, k in enumerate(lefts):
        judged = (signs[:, p] != 0) & (np.abs(others[:, p]) >= 2)
        agree = (signs[judged, p] == np.sign(others[judged, p])).mean() if judged.any() else 1
        if judged.sum() >= 15 and agree < 0.2:
            findings.append(
                Finding(
                    "pair-exchanged",
                    "warning",
                    f"{table.names[k]} and {table.names[swaps[k]]} lie the other way round than "
                    f"the other pairs in {1 - agree:.0%} of {judged.sum()} persons",
                    "look at report.png: are these two names exchanged?",
                    (table.names[k], table.names[swaps[k]]),
                    "keypoint",
                )
            )
    for kind, groups in _groups(table):
        for name in sorted(set(groups)):
            inside = np.array([group == name for group in groups], bool)
            here, there = facing_share(offsets[inside]), facing_share(offsets[~inside])
            if _differs(here, there) and here[1] <= there[1]:
                findings += finding(
                    table,
                    inside & np.isfinite(offsets).any(axis=1),
                    "sides-exchanged",
                    "warning",
                    f"left and right look exchanged in the {kind} {name}: left keypoints lie to "
                    f"the right in the picture in {here[0]:.0%} of its {here[1]} persons, "
                    f"elsewhere in {there[0]:.0%} of {there[1]}",
                    "left is the person's own left. Ask who annotated these; look at report.png",
                )
    return findings, table


def _groups(table: Table) -> Iterator[tuple[str, list[str]]]:
    """What one person may have annotated alone: a file, or a folder of pictures."""
    if len(table.files) > 1:
        yield "file", [table.files[f].name for f in table.rows[:, 0]]
    folders = [
        str(PurePosixPath(table.image_files[m]).parent) if m >= 0 else "" for m in table.image
    ]
    if 1 < len(set(folders)) <= 200:
        yield "folder", folders


def compare_splits(train: Table, val: Table) -> list[Finding]:
    """Checks of two splits against each other, by what the files say."""
    findings = []
    if train.names != val.names:
        raise ValueError("train and val have different keypoints")
    common = {name for name in train.image_files if name} & set(val.image_files)
    if common:
        ids = tuple(i for i, name in zip(val.image_ids, val.image_files) if name in common)
        findings.append(
            Finding(
                "split-same-file",
                "warning",
                "val lists file names that train lists too (the same picture, if of one folder)",
                "a picture that was trained on says nothing: leave it out of one of them",
                ids,
                "image",
            )
        )
    here, there = facing_share(side_offsets(val)), facing_share(side_offsets(train))
    if _differs(here, there):
        findings.append(
            Finding(
                "split-sides-exchanged",
                "warning",
                f"left and right look exchanged in val: {here[0]:.0%} of its {here[1]} persons face"
                f" the camera, {there[0]:.0%} of {there[1]} in train",
                "left is the person's own left. Look at report.png",
                (),
                "image",
            )
        )
    return findings

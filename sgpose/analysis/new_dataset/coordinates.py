# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Visibilities, keypoints and boxes: what the numbers of a file say.

Each check returns its findings and the table with what is certain mended.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .findings import Finding, finding, most_common
from .read import Table

Checked = tuple[list[Finding], Table]


def extents(table: Table) -> np.ndarray:
    """(N, 4) x, y, width, height around the labelled keypoints; NaN where none is labelled."""
    points = np.where(table.labelled[..., None], table.keypoints[..., :2], np.nan)
    boxes = np.full((len(table), 4), np.nan)
    some = table.labelled.any(axis=1)
    boxes[some, :2] = np.nanmin(points[some], axis=1)
    boxes[some, 2:] = np.nanmax(points[some], axis=1) - boxes[some, :2]
    return boxes


def box_around_keypoints(table: Table) -> np.ndarray:
    """(N, 4) boxes around the labelled keypoints, a tenth wider on each side, inside the image."""
    inner = extents(table)
    margin = np.maximum(0.1 * inner[:, 2:].max(axis=1, initial=1, keepdims=True), 1)
    start = np.maximum(inner[:, :2] - margin, 0)
    stop = np.fmin(inner[:, :2] + inner[:, 2:] + margin, table.sizes)
    return np.concatenate([start, np.maximum(stop - start, 1)], axis=1)


def visibilities(table: Table) -> Checked:
    keypoints = table.keypoints
    v = keypoints[..., 2]
    negative = v < 0
    odd = ~np.isin(v, (0, 1, 2)) & ~negative
    findings = finding(
        table,
        negative.any(axis=1),
        "visibility-negative",
        "error",
        f"visibilities are negative ({most_common(v[negative])}): a negative weight rewards errors",
        "--fix writes 0, not labelled",
        True,
    )
    whole = odd & (v == np.floor(v))
    findings += finding(
        table,
        whole.any(axis=1),
        "visibility-unknown",
        "error",
        f"visibilities are {most_common(v[whole])}, known are 0, 1, 2; they count as labelled",
        'find out what they mean (in some sets 3 is "not labelled"), write 0, 1 or 2',
    )
    part = odd & ~whole
    findings += finding(
        table,
        part.any(axis=1),
        "visibility-fraction",
        "error",
        f"visibilities are fractions ({most_common(v[part])}), as a detector's scores are: "
        "they would be weights, and below 0.5 a keypoint is left out of heatmaps",
        "write 2 for what is labelled and 0 for what is not; train on no predictions",
    )
    keypoints = keypoints.copy()
    keypoints[negative] = 0
    return findings, replace(table, keypoints=keypoints)


def normalised(table: Table) -> Checked:
    labelled = table.labelled
    some = labelled.sum(axis=1) >= 2
    large = np.nan_to_num(table.sizes, nan=1000).min(axis=1, initial=1000) > 20
    points = np.where(labelled[..., None], table.keypoints[..., :2], 0)
    top = points.max(axis=(1, 2), initial=0)
    unit = some & large & (top > 0) & (top <= 1.2)
    known = np.isfinite(table.sizes).all(axis=1)
    findings = finding(
        table,
        unit,
        "normalised",
        "error",
        "keypoints lie between 0 and 1: parts of the picture, where pixels are needed",
        "--fix multiplies by the picture's width and height",
        True,
    )
    rest = some & ~unit
    far = table.sizes.max(axis=1, initial=0) > 200
    if rest.any():
        values, full = points[rest], (rest & far).sum() > 0.9 * rest.sum()
        if full and 60 < values.max() <= 100 and rest.sum() >= 5:
            findings.append(
                Finding(
                    "per-cent",
                    "warning",
                    "no coordinate is above 100 in pictures of more than 200 pixels: per cent?",
                    "Label Studio's own JSON counts in per cent of the picture: export COCO",
                )
            )
    boxes = table.boxes
    small = (boxes[:, 2:] > 0).all(axis=1) & ((boxes[:, :2] + boxes[:, 2:]) <= 1.2).all(axis=1)
    small &= large & (boxes[:, :2] >= -0.2).all(axis=1)
    findings += finding(
        table,
        small & ~unit,
        "box-normalised",
        "error",
        "boxes lie between 0 and 1: parts of the picture, where pixels are needed",
        "--fix multiplies by the picture's width and height",
        True,
    )
    keypoints, boxes = table.keypoints.copy(), boxes.copy()
    rows = unit & known
    keypoints[rows, :, :2] *= table.sizes[rows, None]
    rows = small & known
    boxes[rows] *= np.tile(table.sizes[rows], (1, 2))
    return findings, replace(table, keypoints=keypoints, boxes=boxes)


def corners(table: Table) -> Checked:
    corner = table.labelled & (table.keypoints[..., :2] == 0).all(axis=2)
    findings = finding(
        table,
        corner.any(axis=1),
        "labelled-at-zero",
        "error",
        "keypoints at exactly (0, 0) count as labelled (v > 0): an export's way to say missing",
        "--fix writes v = 0",
        True,
    )
    keypoints = table.keypoints.copy()
    keypoints[corner] = 0
    placed = (keypoints[..., 2] == 0) & (keypoints[..., :2] > 0).all(axis=2)
    all_placed = placed.sum() > 0.2 * max(1, table.labelled.sum() + placed.sum())
    if all_placed:
        findings += finding(
            table,
            placed.any(axis=1),
            "placed-not-labelled",
            "warning",
            f"{placed.sum()} keypoints have a place and v = 0: they are not trained on",
            "if they are labels, write v = 1 (hidden) or 2 (seen)",
        )
    return findings, replace(table, keypoints=keypoints)


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of N pairs of boxes x, y, w, h."""
    start, stop = (
        np.maximum(a[:, :2], b[:, :2]),
        np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]),
    )
    common = np.maximum(stop - start, 0).prod(axis=1)
    union = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - common
    return common / np.maximum(union, 1e-9)


def box_form(table: Table) -> Checked:
    """Whether a file's boxes are corners: as such they fit pictures and keypoints, else not."""
    boxes, inner = table.boxes.copy(), extents(table)
    findings: list[Finding] = []
    rows = table.usable & np.isfinite(boxes).all(axis=1) & (table.labelled.sum(axis=1) >= 2)
    rows &= np.isfinite(table.sizes).all(axis=1)
    wrong, leave = np.zeros(len(table), bool), 0
    for number in range(len(table.files)):
        here = table.rows[:, 0] == number
        chosen = rows & here
        if not chosen.any():
            continue
        stated, sizes = boxes[chosen], table.sizes[chosen]
        corners = np.concatenate([stated[:, :2], stated[:, 2:] - stated[:, :2]], axis=1)
        possible = (corners[:, 2:] > 0).all(axis=1) & (stated[:, 2:] <= sizes + 1).all(axis=1)
        beyond = (stated[:, :2] + stated[:, 2:] > sizes + 1).any(axis=1)
        better = _overlap(corners, inner[chosen]) > _overlap(stated, inner[chosen])
        fits = possible & better & _holds(corners, inner[chosen], 0.15)
        if possible.mean() > 0.95 and fits.mean() > 0.8 and beyond.mean() > 0.2:
            wrong |= here
            leave += int(beyond.sum())
    if wrong.any():
        findings += finding(
            table,
            rows & wrong,
            "box-corners",
            "error",
            f"boxes look like x1, y1, x2, y2 ({leave} of {(rows & wrong).sum()} leave their "
            "picture as x, y, width, height)",
            "--fix writes x, y, width, height",
            True,
        )
        boxes[wrong, 2:] -= boxes[wrong, :2]
    return findings, replace(table, boxes=boxes)


def _holds(boxes: np.ndarray, inner: np.ndarray, tolerance: float) -> np.ndarray:
    """(N,) bool: boxes that hold inner ones, up to a part of their longer side."""
    slack = tolerance * boxes[:, 2:].max(axis=1, initial=0, keepdims=True) + 2
    low = inner[:, :2] >= boxes[:, :2] - slack
    high = inner[:, :2] + inner[:, 2:] <= boxes[:, :2] + boxes[:, 2:] + slack
    return (low & high).all(axis=1)


def boxes(table: Table) -> Checked:
    trained = table.usable
    missing = trained & ~np.isfinite(table.boxes).all(axis=1)
    findings = finding(
        table,
        missing,
        "box-missing",
        "error",
        "annotations have no bbox: MMPose leaves these out without a word",
        "--fix writes boxes around the keypoints, a tenth wider; annotated boxes are better",
        True,
    )
    flat = trained & ~missing & (table.boxes[:, 2:] <= 0).any(axis=1)
    findings += finding(
        table,
        flat,
        "box-empty",
        "error",
        "boxes have no width or height: MMPose leaves these out without a word",
        "--fix writes boxes around the keypoints",
        True,
    )
    start, stop = table.boxes[:, :2], table.boxes[:, :2] + table.boxes[:, 2:]
    sizes = table.sizes
    away = (start >= sizes).any(axis=1) | (stop <= 0).any(axis=1)
    away &= trained & ~missing & ~flat
    findings += finding(
        table,
        away,
        "box-elsewhere",
        "error",
        "boxes lie wholly outside of their picture: MMPose leaves these out without a word",
        "--fix writes boxes around the keypoints; check that the image_id is right",
        True,
    )
    rest = trained & ~(missing | flat | away)
    over = rest & ((start < -2).any(axis=1) | (stop > sizes + 2).any(axis=1))
    findings += finding(
        table,
        over,
        "box-outside",
        "warning",
        "boxes reach out of their picture: MMPose cuts them off at the border",
        "--fix cuts them off in a copy; many of them: are the pictures' sizes right?",
        True,
    )
    inner = extents(table)
    loose = rest & ~_holds(table.boxes, np.nan_to_num(inner), 0.15)
    findings += finding(
        table,
        loose,
        "box-keypoints",
        "warning",
        "boxes do not hold their keypoints: what lies outside of the crop cannot be learnt",
        "look at them: a box or a keypoint of another object?",
    )
    boxes = table.boxes.copy()
    redrawn = missing | flat | away
    boxes[redrawn] = box_around_keypoints(table)[redrawn]
    known = over & np.isfinite(sizes).all(axis=1)
    start, stop = np.maximum(start, 0), np.minimum(stop, sizes)
    boxes[known] = np.concatenate([start, stop - start], axis=1)[known]
    return findings, replace(table, boxes=boxes)


def outside(table: Table) -> Checked:
    points = table.keypoints[..., :2]
    sizes = table.sizes[:, None]
    slack = np.maximum(0.01 * np.nan_to_num(sizes), 1)
    out = (points < -slack) | (points > sizes + slack)
    out = out.any(axis=2) & table.labelled
    rows = out.any(axis=1)
    share = out.sum() / max(1, table.labelled.sum())
    findings = finding(
        table,
        rows,
        "keypoint-outside",
        "warning" if share < 0.05 else "error",
        f"{out.sum()} labelled keypoints ({share:.1%}) lie outside of their picture",
        "set v = 0 where the label is a guess; many of them: are the pictures' sizes right?",
    )
    return findings, table

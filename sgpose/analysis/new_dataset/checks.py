# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What is wrong, and what looks mistaken, in a table of annotations.

Each check looks at the table as the checks before it mended it, so that one fault is found once.
Only what has one right value is mended; the table that was given is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from .metainfo import lonely, side, skeleton_links, swap_indices, unique
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
        _names,
        _ids,
        *([] if picture_sizes is None else [fill_sizes]),
        _references,
        _lists,
        _visibilities,
        _normalised,
        _corners,
        _stated_numbers,
        _box_form,
        _boxes,
        _outside,
        _repeated,
        _optional,
        _never_labelled,
        _sides,
    ):
        found, table = check(table)
        findings += found
    return by_severity(findings), table


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings, errors first; the order within a severity stays."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def usable(table: Table) -> np.ndarray:
    """(N,) bool: what MMPose trains on, as far as keypoints and crowd flags go."""
    return table.labelled.any(axis=1) & ~(table.crowd == 1)


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


def _finding(table, rows, code, severity, text, todo, mendable=False) -> list[Finding]:
    chosen = np.flatnonzero(rows)
    if not len(chosen):
        return []
    many = len(table.files) > 1
    ids = tuple(
        f"{table.files[table.rows[n, 0]].name}:{table.ids[n]}" if many else table.ids[n]
        for n in chosen
    )
    return [Finding(code, severity, text, todo, ids, mendable=mendable)]


def _repeats(values: list) -> np.ndarray:
    """(N,) bool: True for each value that was there before."""
    first: dict = {}
    return np.array([first.setdefault(v, i) != i for i, v in enumerate(values)], bool)


def _names(table):
    names, findings = table.names, []
    if not table.named:
        findings.append(
            Finding(
                "names-missing",
                "note",
                f"no category names its keypoints: {names[0]} to {names[-1]} are made up",
                "name them in the category's `keypoints` or give --metainfo: sides come from names",
            )
        )
    if len(set(names)) < len(names):
        twice = tuple(sorted({name for name in names if names.count(name) > 1}))
        findings.append(
            Finding(
                "names-repeated",
                "error",
                f"several keypoints have one name: {', '.join(twice)}",
                "give each its own name; in the metainfo they are numbered",
                twice,
                "keypoint",
            )
        )
    single = lonely(unique(names))
    if single:
        findings.append(
            Finding(
                "names-lonely",
                "warning",
                f"keypoints of a side have no partner on the other: {', '.join(single)}",
                "name partners alike (left_eye, right_eye): mirroring in training swaps them",
                tuple(single),
                "keypoint",
            )
        )
    if skeleton_links(table.skeleton, len(names))[1] == "unusable":
        findings.append(
            Finding(
                "skeleton-unusable",
                "warning",
                f"the skeleton names keypoints beyond the {len(names)} that there are",
                "those links are left out of the metainfo; they are only drawn",
            )
        )
    return findings, table


def _ids(table):
    findings = []
    ids = [(f, i) for (f, _), i in zip(table.rows, table.ids)]
    missing = np.array([i is None for i in table.ids], bool)
    text = np.array([isinstance(i, str) for i in table.ids], bool)
    findings += _finding(
        table,
        missing,
        "id-missing",
        "error",
        "annotations have no id",
        "--fix numbers the annotations anew in a copy",
        True,
    )
    findings += _finding(
        table,
        _repeats([repr(i) for i in ids]) & ~missing,
        "id-repeated",
        "error",
        "an annotation's id is given twice: MMPose keeps the last of them",
        "--fix numbers the annotations anew in a copy",
        True,
    )
    findings += _finding(
        table,
        text,
        "id-text",
        "error",
        "ids are text, MMPose needs numbers",
        "--fix numbers the annotations anew in a copy",
        True,
    )
    images = [(f, i) for (f, _), i in zip(table.image_rows, table.image_ids)]
    repeated = _repeats([repr(i) for i in images])
    if repeated.any():
        findings.append(
            Finding(
                "image-id-repeated",
                "error",
                "an image's id is given twice: the annotations of both are read as of one of them",
                "give each image its own id and its annotations that id as `image_id`",
                tuple(table.image_ids[m] for m in np.flatnonzero(repeated)),
                "image",
            )
        )
    odd = [i for i in table.image_ids if not isinstance(i, (int, float))]
    if odd:
        findings.append(
            Finding(
                "image-id-text",
                "error",
                "images' ids are text or missing, MMPose needs numbers",
                "--fix numbers the images anew in a copy",
                tuple(odd),
                "image",
                True,
            )
        )
    names = [(f, name) for (f, _), name in zip(table.image_rows, table.image_files)]
    twice = _repeats(names) & np.array([bool(name) for name in table.image_files], bool)
    if twice.any():
        findings.append(
            Finding(
                "image-listed-twice",
                "warning",
                "one picture is listed as several images",
                "list it once and move the annotations to that entry",
                tuple(table.image_ids[m] for m in np.flatnonzero(twice)),
                "image",
            )
        )
    nameless = [i for i, name in zip(table.image_ids, table.image_files) if not name]
    if nameless:
        findings.append(
            Finding(
                "file-name-missing",
                "error",
                "images have no file_name",
                "name the pictures' files, relative to --images",
                tuple(nameless),
                "image",
            )
        )
    unsized = ~(table.image_sizes > 0).all(axis=1)
    if unsized.any():
        findings.append(
            Finding(
                "size-missing",
                "error",
                "images have no width or height, which MMPose reads before it looks at the picture",
                "--fix writes the pictures' own sizes into a copy",
                tuple(table.image_ids[m] for m in np.flatnonzero(unsized)),
                "image",
                True,
            )
        )
    return findings, table


def _references(table):
    lost = table.image < 0
    findings = _finding(
        table,
        lost,
        "image-unlisted",
        "error",
        "annotations name an image_id that is not in `images`",
        "--fix leaves them out of a copy; or list the images",
        True,
    )
    no_category = np.array([c is None for c in table.category], bool)
    findings += _finding(
        table,
        no_category,
        "category-unknown",
        "error",
        "annotations have no category_id that is in `categories`, which MMPose needs",
        "--fix gives them the category in a copy, where there is but one",
        len(table.categories) == 1,
    )
    if len(table.categories) == 1:
        number = table.categories[0].get("id")
        table = replace(table, category=[number if c is None else c for c in table.category])
    return findings, _keep(table, ~lost)


def _keep(table: Table, rows: np.ndarray) -> Table:
    if rows.all():
        return table
    chosen = np.flatnonzero(rows)
    columns = ("rows", "image", "boxes", "area", "crowd", "stated", "keypoints", "lengths")
    return replace(
        table,
        **{name: getattr(table, name)[chosen] for name in columns},
        ids=[table.ids[n] for n in chosen],
        category=[table.category[n] for n in chosen],
    )


def _lists(table):
    count = len(table.names)
    none = table.lengths == 0
    wrong = ~none & (table.lengths != 3 * count) & (table.lengths != 2 * count)
    bare = (table.lengths == 2 * count) & ~none
    findings = _finding(
        table,
        wrong,
        "keypoints-number",
        "error",
        f"annotations do not have {count} keypoints (3 x {count} numbers) but "
        f"{_values(table.lengths[wrong])} numbers",
        "complete them with 0, 0, 0 where a keypoint is not labelled; --fix leaves them out",
        True,
    )
    findings += _finding(
        table,
        bare,
        "visibility-missing",
        "error",
        "keypoints are x, y without v: MMPose reads each third number as a visibility",
        "--fix adds v = 2, and 0 where a keypoint lies at (0, 0) or has no number",
        True,
    )
    if table.promised != count:
        findings.append(
            Finding(
                "names-number",
                "warning" if count < table.promised else "error",
                f"the category names {table.promised} keypoints, every annotation has {count}: "
                f"{'the first names are used' if count < table.promised else 'names are made up'}",
                f"write the {count} names in the category, in the order of the annotations",
            )
        )
    keypoints = table.keypoints.copy()
    given = (keypoints[..., :2] != 0).any(axis=2) & np.isfinite(keypoints[..., :2]).all(axis=2)
    keypoints[bare, :, 2] = np.where(given[bare], 2, 0)
    broken = ~np.isfinite(keypoints) & ~(none | wrong)[:, None, None]
    findings += _finding(
        table,
        broken.any(axis=(1, 2)),
        "not-finite",
        "error",
        "keypoints are not numbers (null, NaN, text)",
        "--fix marks these keypoints as not labelled: 0, 0, 0",
        True,
    )
    keypoints[broken.any(axis=2)] = 0
    keypoints[none] = 0
    table = replace(table, keypoints=keypoints)
    return findings, _keep(table, ~wrong)


def _values(values: np.ndarray) -> str:
    most = Counter(np.asarray(values).tolist()).most_common(5)
    return ", ".join(f"{value:g}" for value, _ in most)


def _visibilities(table):
    keypoints = table.keypoints
    v = keypoints[..., 2]
    negative = v < 0
    odd = ~np.isin(v, (0, 1, 2)) & ~negative
    findings = _finding(
        table,
        negative.any(axis=1),
        "visibility-negative",
        "error",
        f"visibilities are negative ({_values(v[negative])}): a negative weight rewards errors",
        "--fix writes 0, not labelled",
        True,
    )
    whole = odd & (v == np.floor(v))
    findings += _finding(
        table,
        whole.any(axis=1),
        "visibility-unknown",
        "error",
        f"visibilities are {_values(v[whole])}, known are 0, 1 and 2: they would count as labelled",
        'find out what they mean (3 is "not labelled" in some sets) and write 0, 1 or 2',
    )
    part = odd & ~whole
    findings += _finding(
        table,
        part.any(axis=1),
        "visibility-fraction",
        "error",
        f"visibilities are fractions ({_values(v[part])}), as a detector's scores are: "
        "they would be weights, and below 0.5 a keypoint is left out of heatmaps",
        "write 2 for what is labelled and 0 for what is not; train on no predictions",
    )
    keypoints = keypoints.copy()
    keypoints[negative] = 0
    return findings, replace(table, keypoints=keypoints)


def _normalised(table):
    labelled = table.labelled
    some = labelled.sum(axis=1) >= 2
    large = np.nan_to_num(table.sizes, nan=1000).min(axis=1, initial=1000) > 20
    points = np.where(labelled[..., None], table.keypoints[..., :2], 0)
    top = points.max(axis=(1, 2), initial=0)
    unit = some & large & (top > 0) & (top <= 1.2)
    known = np.isfinite(table.sizes).all(axis=1)
    findings = _finding(
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
    small &= large
    findings += _finding(
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


def _corners(table):
    corner = table.labelled & (table.keypoints[..., :2] == 0).all(axis=2)
    findings = _finding(
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
        findings += _finding(
            table,
            placed.any(axis=1),
            "placed-not-labelled",
            "warning",
            f"{placed.sum()} keypoints have a place and v = 0: they are not trained on",
            "if they are labels, write v = 1 (hidden) or 2 (seen)",
        )
    return findings, replace(table, keypoints=keypoints)


def _stated_numbers(table):
    count = table.labelled.sum(axis=1)
    known = np.isfinite(table.stated)
    wrong = known & (table.stated == 0) & (count > 0)
    findings = _finding(
        table,
        wrong,
        "num-keypoints-zero",
        "error",
        "num_keypoints is 0 where keypoints are labelled: MMPose would leave these out",
        "--fix counts the labelled keypoints",
        True,
    )
    # COCO's own files count some otherwise; only what is beyond doubt is said
    other = known & ~wrong & (np.abs(table.stated - count) > 0)
    if other.sum() > 0.01 * max(1, len(table)):
        findings += _finding(
            table,
            other,
            "num-keypoints-wrong",
            "warning",
            "num_keypoints is not the number of labelled keypoints (v > 0)",
            "--fix counts them",
            True,
        )
    crowd = np.where(np.isfinite(table.crowd), table.crowd, 0)
    odd = ~np.isin(crowd, (0, 1))
    findings += _finding(
        table, odd, "iscrowd-odd", "warning", "iscrowd is neither 0 nor 1", "write 0 or 1"
    )
    stated = np.where(known, count, table.stated)
    return findings, replace(table, stated=stated)


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of N pairs of boxes x, y, w, h."""
    start, stop = (
        np.maximum(a[:, :2], b[:, :2]),
        np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]),
    )
    common = np.maximum(stop - start, 0).prod(axis=1)
    union = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - common
    return common / np.maximum(union, 1e-9)


def _box_form(table):
    """Whether the file's boxes are corners: as such they fit pictures and keypoints, else not."""
    boxes, inner = table.boxes, extents(table)
    rows = usable(table) & np.isfinite(boxes).all(axis=1) & (table.labelled.sum(axis=1) >= 2)
    rows &= np.isfinite(table.sizes).all(axis=1)
    findings: list[Finding] = []
    if not rows.any():
        return findings, table
    stated = boxes[rows]
    corners = np.concatenate([stated[:, :2], stated[:, 2:] - stated[:, :2]], axis=1)
    possible = (corners[:, 2:] > 0).all(axis=1) & (stated[:, 2:] <= table.sizes[rows] + 1).all(
        axis=1
    )
    beyond = (stated[:, :2] + stated[:, 2:] > table.sizes[rows] + 1).any(axis=1)
    better = _overlap(corners, inner[rows]) > _overlap(stated, inner[rows])
    fits = possible & better & _holds(corners, inner[rows], 0.15)
    if possible.mean() > 0.95 and fits.mean() > 0.8 and beyond.mean() > 0.2:
        findings += _finding(
            table,
            rows,
            "box-corners",
            "error",
            f"boxes look like x1, y1, x2, y2 ({beyond.sum()} of {len(stated)} leave their picture "
            "as x, y, width, height)",
            "--fix writes x, y, width, height",
            True,
        )
        boxes = boxes.copy()
        boxes[:, 2:] -= boxes[:, :2]
        return findings, replace(table, boxes=boxes)
    return findings, table


def _holds(boxes: np.ndarray, inner: np.ndarray, tolerance: float) -> np.ndarray:
    """(N,) bool: boxes that hold inner ones, up to a part of their longer side."""
    slack = tolerance * boxes[:, 2:].max(axis=1, initial=0, keepdims=True) + 2
    low = inner[:, :2] >= boxes[:, :2] - slack
    high = inner[:, :2] + inner[:, 2:] <= boxes[:, :2] + boxes[:, 2:] + slack
    return (low & high).all(axis=1)


def _boxes(table):
    trained = usable(table)
    missing = trained & ~np.isfinite(table.boxes).all(axis=1)
    findings = _finding(
        table,
        missing,
        "box-missing",
        "error",
        "annotations have no bbox: MMPose leaves these out without a word",
        "--fix writes boxes around the keypoints, a tenth wider; annotated boxes are better",
        True,
    )
    flat = trained & ~missing & (table.boxes[:, 2:] <= 0).any(axis=1)
    findings += _finding(
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
    findings += _finding(
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
    findings += _finding(
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
    findings += _finding(
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


def _outside(table):
    points = table.keypoints[..., :2]
    sizes = table.sizes[:, None]
    slack = np.maximum(0.01 * np.nan_to_num(sizes), 1)
    out = (points < -slack) | (points > sizes + slack)
    out = out.any(axis=2) & table.labelled
    rows = out.any(axis=1)
    share = out.sum() / max(1, table.labelled.sum())
    findings = _finding(
        table,
        rows,
        "keypoint-outside",
        "warning" if share < 0.05 else "error",
        f"{out.sum()} labelled keypoints ({share:.1%}) lie outside of their picture",
        "set v = 0 where the label is a guess; many of them: are the pictures' sizes right?",
    )
    return findings, table


def _repeated(table):
    rows = usable(table)
    if not rows.any():
        return [], table
    chosen = np.flatnonzero(rows)
    keys = np.concatenate(
        [table.image[chosen, None], table.keypoints[chosen].reshape(len(chosen), -1)], axis=1
    )
    hashes = [row.tobytes() for row in np.ascontiguousarray(keys)]
    twice = np.zeros(len(table), bool)
    twice[chosen] = _repeats(hashes)
    return _finding(
        table,
        twice,
        "annotated-twice",
        "warning",
        "the same keypoints are annotated a second time on the same image",
        "--fix leaves the second one out",
        True,
    ), _keep(table, ~twice)


def _optional(table):
    findings = []
    trained = usable(table)
    for name, column, why in (
        ("area", table.area, "COCO's AP would take 0.53 times the box's; PCK does not need it"),
        ("iscrowd", table.crowd, "COCO's AP needs it; 0 is written into copies"),
        ("num_keypoints", table.stated, "it is counted"),
    ):
        missing = trained & ~np.isfinite(column)
        findings += _finding(
            table,
            missing,
            f"{name}-missing",
            "note",
            f"annotations have no `{name}`: {why}",
            "--fix adds it" if name != "area" else "--fix adds the box's area times 0.53",
            True,
        )
    area = table.boxes[:, 2:].prod(axis=1)
    empty = trained & (table.area <= 0)
    findings += _finding(
        table,
        empty,
        "area-zero",
        "warning",
        "areas are not positive: COCO's AP divides by them",
        "--fix writes the box's area times 0.53",
        True,
    )
    given = np.isfinite(table.area) & ~empty
    return findings, replace(
        table,
        area=np.where(given, table.area, 0.53 * area),
        crowd=np.where(np.isfinite(table.crowd), table.crowd, 0),
        stated=np.where(np.isfinite(table.stated), table.stated, table.labelled.sum(axis=1)),
    )


def _never_labelled(table):
    labelled = table.labelled[usable(table)]
    if not labelled.any():
        return [
            Finding(
                "nothing-labelled",
                "error",
                "no annotation has a labelled keypoint (v > 0)",
                "was v written? 2 is labelled and seen, 1 labelled and hidden, 0 not labelled",
            )
        ], table
    never = [name for name, seen in zip(table.names, labelled.any(axis=0)) if not seen]
    findings = []
    if never:
        findings.append(
            Finding(
                "never-labelled",
                "warning",
                f"{len(never)} of {len(table.names)} keypoints are never labelled: "
                + ", ".join(never),
                "the network cannot learn them: leave them out of the category or label them",
                tuple(never),
                "keypoint",
            )
        )
    return findings, table


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


def _sides(table):
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
                findings += _finding(
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


def _groups(table):
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

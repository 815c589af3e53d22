# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Names, ids and lists: what stands in a file, whatever its coordinates.

Each check returns its findings and the table with what is certain mended.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .findings import Finding, finding, most_common
from .metainfo import lonely, skeleton_links, unique
from .read import Table

Checked = tuple[list[Finding], Table]


def _repeats(values: list) -> np.ndarray:
    """(N,) bool: True for each value that was there before."""
    first: dict = {}
    return np.array([first.setdefault(v, i) != i for i, v in enumerate(values)], bool)


def names(table: Table) -> Checked:
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
    if table.skipped:
        findings.append(
            Finding(
                "category-other",
                "warning",
                f"{table.skipped} annotations of other categories have other keypoints: not read",
                "--category NAME reads another one; a network of these configs has one set",
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


def ids(table: Table) -> Checked:
    findings = []
    ids = [(f, i) for (f, _), i in zip(table.rows, table.ids)]
    missing = np.array([i is None for i in table.ids], bool)
    text = np.array([not isinstance(i, (int, float, type(None))) for i in table.ids], bool)
    findings += finding(
        table,
        missing,
        "id-missing",
        "error",
        "annotations have no id",
        "--fix numbers the annotations anew in a copy",
        True,
    )
    findings += finding(
        table,
        _repeats([repr(i) for i in ids]) & ~missing,
        "id-repeated",
        "error",
        "an annotation's id is given twice: MMPose keeps the last of them",
        "--fix numbers the annotations anew in a copy",
        True,
    )
    findings += finding(
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


def references(table: Table) -> Checked:
    lost = table.image < 0
    findings = finding(
        table,
        lost,
        "image-unlisted",
        "error",
        "annotations name an image_id that is not in `images`",
        "--fix leaves them out of a copy; or list the images",
        True,
    )
    findings += finding(
        table,
        table.other_type,
        "reference-type",
        "error",
        "image_id or category_id is text where the id is a number (or the other way round): MMPose "
        "does not find what is meant",
        "--fix writes the ids as they are listed",
        True,
    )
    no_category = np.array([c is None for c in table.category], bool)
    findings += finding(
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
    return findings, table.keep(~lost)


def lists(table: Table) -> Checked:
    count = len(table.names)
    none = table.lengths == 0
    wrong = ~none & (table.lengths != 3 * count) & (table.lengths != 2 * count)
    bare = (table.lengths == 2 * count) & ~none
    findings = finding(
        table,
        wrong,
        "keypoints-number",
        "error",
        f"annotations do not have {count} keypoints (3 x {count} numbers) but "
        f"{most_common(np.maximum(table.lengths[wrong], 0))} numbers",
        "complete them with 0, 0, 0 where a keypoint is not labelled; --fix leaves them out",
        True,
    )
    findings += finding(
        table,
        bare,
        "visibility-missing",
        "error",
        "keypoints are x, y without v: MMPose reads each third number as a visibility",
        "--fix adds v = 2, and 0 where a keypoint lies at (0, 0) or has no number",
        True,
    )
    findings += finding(
        table,
        none & (table.stated > 0),
        "keypoints-missing",
        "error",
        "annotations state num_keypoints and have no keypoints: they are not trained on",
        "export them with their keypoints",
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
    findings += finding(
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
    stated = np.where(none, 0, table.stated)
    return findings, replace(table, keypoints=keypoints, stated=stated).keep(~wrong)


def stated_numbers(table: Table) -> Checked:
    count = table.labelled.sum(axis=1)
    known = np.isfinite(table.stated)
    wrong = known & (table.stated == 0) & (count > 0)
    findings = finding(
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
        findings += finding(
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
    findings += finding(
        table, odd, "iscrowd-odd", "warning", "iscrowd is neither 0 nor 1", "write 0 or 1"
    )
    stated = np.where(known, count, table.stated)
    return findings, replace(table, stated=stated)


def repeated(table: Table) -> Checked:
    rows = table.usable
    if not rows.any():
        return [], table
    chosen = np.flatnonzero(rows)
    keys = np.concatenate(
        [table.image[chosen, None], table.keypoints[chosen].reshape(len(chosen), -1)], axis=1
    )
    hashes = [row.tobytes() for row in np.ascontiguousarray(keys)]
    twice = np.zeros(len(table), bool)
    twice[chosen] = _repeats(hashes)
    return finding(
        table,
        twice,
        "annotated-twice",
        "warning",
        "the same keypoints are annotated a second time on the same image",
        "--fix leaves the second one out",
        True,
    ), table.keep(~twice)


def optional(table: Table) -> Checked:
    findings = []
    trained = table.usable
    for name, column, why in (
        ("area", table.area, "COCO's AP would take 0.53 times the box's; PCK does not need it"),
        ("iscrowd", table.crowd, "COCO's AP needs it; 0 is written into copies"),
        ("num_keypoints", table.stated, "it is counted"),
    ):
        missing = trained & ~np.isfinite(column)
        findings += finding(
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
    findings += finding(
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


def never_labelled(table: Table) -> Checked:
    labelled = table.labelled[table.usable]
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

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Copies of annotation files: mended, joined or split. The user's files are only read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .read import Table, read_json


def split_images(
    table: Table, share: float, same: Sequence[Sequence[int]] = (), seed: int = 0
) -> np.ndarray:
    """Choose the images of val at random; what looks like one video or one picture stays together.

    File names are grouped by what is left without their last number (`clip3_0012.jpg`), where that
    gives twenty groups or more.

    Args:
        table: All annotations.
        share: Part of the images that goes to val, between 0 and 1.
        same: Groups of images that must stay together.
        seed: Chooses them.

    Returns:
        (M,) bool: images of val. At least one where there are two groups, and never all.
    """
    groups = [_stem(name) for name in table.image_files]
    if len(set(groups)) < 20:
        groups = [str(m) for m in range(len(groups))]
    for one in same:
        old = {groups[m] for m in one}
        groups = [groups[one[0]] if group in old else group for group in groups]
    members: dict[str, list[int]] = {}
    for m, group in enumerate(groups):
        members.setdefault(group, []).append(m)
    wanted = max(1, round(share * len(groups)))
    val = np.zeros(len(groups), bool)
    for group in np.random.default_rng(seed).permutation(sorted(members)):
        if val.sum() + len(members[group]) <= wanted:
            val[members[group]] = True
    if not val.any() and len(members) > 1:
        val[min(members.values(), key=len)] = True
    return val


def _stem(name: str) -> str:
    """A file name without its last run of digits and what follows (Roboflow's hash, the suffix)."""
    base = name.split(".rf.")[0]
    stem = str(Path(base).with_suffix("")).rstrip("0123456789")
    return stem.rstrip("-_ .")


def write_copy(table: Table, path: Path, mended: bool) -> None:
    """Write the images and annotations of a table as one COCO-style file.

    Ids stay where all are different whole numbers, else annotations and images are numbered anew.
    Entries that a table does not know stay as they are.

    Args:
        table: One split.
        path: The file, which is overwritten.
        mended: Whether to write the values of the table; else those of its files.
    """
    contents = [read_json(file) for file in table.files]
    keep_images, keep = _whole(table.image_ids), _whole(table.ids)
    number = table.image_ids if keep_images else range(1, len(table.image_ids) + 1)
    number = [int(i) for i in number]
    images = []
    for m, (f, row) in enumerate(table.image_rows):
        image = dict(contents[f]["images"][row], id=number[m])
        if mended:
            image["file_name"] = table.image_files[m]
        if mended and np.isfinite(table.image_sizes[m]).all():
            image["width"], image["height"] = map(int, table.image_sizes[m])
        images.append(image)
    annotations = []
    for n, (f, row) in enumerate(table.rows):
        annotation = dict(contents[f]["annotations"][row])
        annotation["id"] = int(table.ids[n]) if keep else n + 1
        if table.image[n] >= 0:
            annotation["image_id"] = number[table.image[n]]
        annotations.append(annotation)
        if not mended:
            continue
        annotation.update(
            keypoints=_rounded(table.keypoints[n].ravel()),
            num_keypoints=int(table.labelled[n].sum()),
            iscrowd=int(table.crowd[n] == 1),
        )
        if table.category[n] is not None:
            annotation["category_id"] = _plain(table.category[n])
        if np.isfinite(table.boxes[n]).all():
            annotation["bbox"] = _rounded(table.boxes[n])
        if np.isfinite(table.area[n]):
            (annotation["area"],) = _rounded([table.area[n]])
    categories = [
        dict(c, id=_plain(c.get("id")), keypoints=list(table.names)) for c in table.categories
    ]
    content = {key: value for key, value in contents[0].items() if key not in ("info", "licenses")}
    content.update(images=images, annotations=annotations, categories=categories)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _whole(ids) -> bool:
    numbers = [i for i in ids if isinstance(i, (int, float)) and float(i).is_integer()]
    return len(numbers) == len(ids) == len({int(i) for i in numbers})


def _plain(identity):
    try:
        return int(float(identity))
    except (TypeError, ValueError):
        return identity


def _rounded(values) -> list[float]:
    return [int(v) if float(v).is_integer() else round(float(v), 3) for v in values]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""COCO-style JSON files, as annotation tools export them, into one table of NumPy columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

CONVERTERS = (
    "new_dataset reads COCO keypoints JSON: an object with the lists `images`, `annotations` and "
    "`categories`. labelme, DeepLabCut, VIA and others: see docs/your_data.md for the converter"
)


class AnnotationError(ValueError):
    """A file that cannot be read as COCO keypoints: what was found and what is needed."""


@dataclass(frozen=True)
class Table:
    """The annotations of one split. N persons (or other objects), M images, K keypoints.

    Attributes:
        files: The JSON files.
        names: K names of keypoints.
        named: Whether the names are the file's; made up otherwise.
        promised: How many keypoints the category names. The annotations may have another number:
            then the names are cut or made up to fit.
        skeleton: Links as the file states them.
        categories: The category dicts that are used, each with K keypoints.
        image_ids: M ids as they stand in the files.
        image_files: M file names.
        image_sizes: (M, 2) width and height, NaN where not stated.
        image_rows: (M, 2) number of the file and of the entry in its `images`.
        rows: (N, 2) number of the file and of the entry in its `annotations`.
        ids: N ids as they stand in the files.
        image: (N,) index into the images, -1 where there is no such image.
        category: N category ids as they stand in the files, None where missing.
        boxes: (N, 4) x, y, width, height as stated, NaN where missing.
        area, crowd, stated: (N,) `area`, `iscrowd` and `num_keypoints`, NaN where missing.
        keypoints: (N, K, 3) x, y, v as stated; NaN where there is no list of 3 K numbers.
        lengths: (N,) how many numbers the keypoints have; 0 where there are none, -1 where they
            are no list.
        other_type: (N,) bool: `image_id` or `category_id` is text where the id it means is a
            number, or the other way round.
        skipped: Annotations of other categories that have keypoints.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    named: bool
    promised: int
    skeleton: tuple[tuple[int, int], ...]
    categories: tuple[dict, ...]
    image_ids: list
    image_files: list[str]
    image_sizes: np.ndarray
    image_rows: np.ndarray
    rows: np.ndarray
    ids: list
    image: np.ndarray
    category: list
    boxes: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    stated: np.ndarray
    keypoints: np.ndarray
    lengths: np.ndarray
    other_type: np.ndarray
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def label(self, n: int):
        """What names a person: its id, with its file where there are several."""
        if len(self.files) == 1:
            return self.ids[n]
        return f"{self.files[self.rows[n, 0]].name}:{self.ids[n]}"

    @property
    def labelled(self) -> np.ndarray:
        """(N, K) bool: keypoints with v > 0 and finite coordinates."""
        return (self.keypoints[..., 2] > 0) & np.isfinite(self.keypoints).all(axis=2)

    @property
    def usable(self) -> np.ndarray:
        """(N,) bool: what MMPose trains on, as far as keypoints and crowd flags go."""
        return self.labelled.any(axis=1) & ~(self.crowd == 1)

    @property
    def sizes(self) -> np.ndarray:
        """(N, 2) width and height of each person's image, NaN where unknown."""
        padded = np.concatenate([self.image_sizes, np.full((1, 2), np.nan)])
        return padded[self.image]

    def take(self, images: np.ndarray, lost: bool = False) -> Table:
        """Return the part of the table that lies on some images.

        Args:
            images: (M,) bool.
            lost: Whether to take what lies on no image as well.
        """
        kept = np.flatnonzero(images)
        place = np.full(len(images) + 1, -1)
        place[kept] = np.arange(len(kept))
        part = self.keep((place[self.image] >= 0) | (lost & (self.image < 0)))
        return replace(
            part,
            image=place[part.image],
            image_ids=[self.image_ids[m] for m in kept],
            image_files=[self.image_files[m] for m in kept],
            image_sizes=self.image_sizes[kept],
            image_rows=self.image_rows[kept],
        )

    def keep(self, persons: np.ndarray) -> Table:
        """Return the table with some of the persons, and all images.

        Args:
            persons: (N,) bool.
        """
        if persons.all():
            return self
        chosen = np.flatnonzero(persons)
        return replace(
            self,
            **{name: getattr(self, name)[chosen] for name in _ARRAYS},
            ids=[self.ids[n] for n in chosen],
            category=[self.category[n] for n in chosen],
        )


_ARRAYS = (
    "rows",
    "image",
    "boxes",
    "area",
    "crowd",
    "stated",
    "keypoints",
    "lengths",
    "other_type",
)


def read_json(path: Path, outlines: bool = True) -> dict:
    """Read a file and make sure that it has COCO's lists.

    Args:
        path: The file.
        outlines: Whether to keep the objects' `segmentation`, which is most of a large file.

    Raises:
        AnnotationError: If it cannot be read or is something else.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file, object_hook=None if outlines else _without_outline)
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise AnnotationError(
            f"{path} is not a complete JSON file: {error}. Was it cut off? Export it again"
        ) from error
    found = sorted(content) if isinstance(content, dict) else f"a {type(content).__name__}"
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise AnnotationError(f"{path} has no list `{key}`, it is {found}. {CONVERTERS}")
        if not all(isinstance(entry, dict) for entry in content[key]):
            raise AnnotationError(f"{path}: not every entry of `{key}` is an object. {CONVERTERS}")
    if not isinstance(content.get("categories", []), list):
        raise AnnotationError(f"{path}: `categories` is not a list. {CONVERTERS}")
    return content


def _without_outline(entry: dict) -> dict:
    entry.pop("segmentation", None)
    return entry


def read(files: Sequence[Path], category: str | None = None) -> Table:
    """Read one split.

    Args:
        files: COCO-style JSON files; ids count within a file.
        category: Name of the category to read, where the file has several with other keypoints.
            By default those that have the keypoints of the category with most annotations.

    Raises:
        AnnotationError: If a file is no COCO keypoints file, or two do not fit together.
    """
    contents = [read_json(path, outlines=False) for path in files]
    categories, names, named, skeleton = _categories(files, contents, category)
    promised = len(names)
    wanted = {(f, _key(c.get("id"))) for f, c in categories}
    known = {
        (f, _key(c.get("id")))
        for f, content in enumerate(contents)
        for c in content.get("categories", [])
    }

    image_ids: list = []
    place: dict = {}
    image_files, image_sizes, image_rows = [], [], []
    persons, rows, skipped = [], [], 0
    for f, content in enumerate(contents):
        for m, image in enumerate(content["images"]):
            place.setdefault((f, _key(image.get("id"))), len(image_ids))
            image_ids.append(image.get("id"))
            image_files.append(str(image.get("file_name") or ""))
            image_sizes.append(
                (_plain_number(image.get("width")), _plain_number(image.get("height")))
            )
            image_rows.append((f, m))
        for n, person in enumerate(content["annotations"]):
            key = (f, _key(person.get("category_id")))
            if key in wanted or key not in known:  # what names no category is not lost
                persons.append(person)
                rows.append((f, n))
            else:
                skipped += bool(person.get("keypoints"))
    names = _fitted(names, [person["keypoints"] for person in persons if person.get("keypoints")])
    count = len(names)
    boxes = np.full((len(persons), 4), np.nan)
    for n, person in enumerate(persons):
        box = person.get("bbox")
        if isinstance(box, (list, tuple)) and len(box) == 4:
            boxes[n] = [_number(value) for value in box]
    keypoints, lengths = _keypoints([person.get("keypoints") for person in persons], count)
    return Table(
        files=tuple(files),
        names=names,
        named=named,
        promised=promised,
        skeleton=skeleton,
        categories=tuple({_key(c.get("id")): c for _, c in categories}.values()),
        image_ids=image_ids,
        image_files=image_files,
        image_sizes=np.array(image_sizes, float).reshape(-1, 2),
        image_rows=np.array(image_rows, int).reshape(-1, 2),
        rows=np.array(rows, int).reshape(-1, 2),
        ids=[person.get("id") for person in persons],
        image=np.array(
            [place.get((f, _key(p.get("image_id"))), -1) for (f, _), p in zip(rows, persons)], int
        ),
        category=[
            person.get("category_id") if (f, _key(person.get("category_id"))) in known else None
            for (f, _), person in zip(rows, persons)
        ],
        boxes=boxes,
        area=_column(persons, "area"),
        crowd=_column(persons, "iscrowd"),
        stated=_column(persons, "num_keypoints"),
        keypoints=keypoints,
        lengths=lengths,
        other_type=_other_type(contents, rows, persons),
        skipped=skipped,
    )


def _categories(files, contents, wanted):
    """The categories with keypoints that are read, as (number of the file, category)."""
    usable = [
        (f, c)
        for f, content in enumerate(contents)
        for c in content.get("categories", [])
        if isinstance(c, dict) and c.get("keypoints")
    ]
    if wanted is not None:
        usable = [(f, c) for f, c in usable if c.get("name") == wanted]
        if not usable:
            raise AnnotationError(f"no category {wanted!r} with keypoints in {_joined(files)}")
    if not usable:  # WFLW's form: the number of keypoints is all that is known
        sizes = Counter(
            len(_flat(a["keypoints"]))
            for c in contents
            for a in c["annotations"]
            if a.get("keypoints")
        )
        if not sizes:
            raise AnnotationError(
                f"{_joined(files)}: no annotation has `keypoints`. Export keypoints, not boxes or "
                f"polygons. {CONVERTERS}"
            )
        count = -(-sizes.most_common(1)[0][0] // 3)
        chosen = [
            (f, c) for f, content in enumerate(contents) for c in content.get("categories", [])
        ]
        return chosen, tuple(f"keypoint_{k + 1}" for k in range(count)), False, ()
    used = Counter(
        (f, _key(a.get("category_id")))
        for f, content in enumerate(contents)
        for a in content["annotations"]
        if a.get("keypoints")
    )
    per_names: Counter = Counter()
    for f, c in usable:
        per_names[_names(c)] += used[f, _key(c.get("id"))]
    names = per_names.most_common(1)[0][0]
    chosen = [(f, c) for f, c in usable if _names(c) == names]
    for f, path in enumerate(files):
        if contents[f]["annotations"] and not any(g == f for g, _ in chosen):
            raise AnnotationError(
                f"{path} has other keypoints than {_joined(files[:f] or files[f + 1 :])}: files of "
                "one split must have the same keypoints in the same order"
            )
    skeleton = next((c["skeleton"] for _, c in chosen if c.get("skeleton")), ())
    if any(isinstance(end, str) for link in skeleton for end in link):
        skeleton = [[names.index(end) + 1 for end in link if end in names] for link in skeleton]
    links = tuple(
        tuple(int(end) for end in link)
        for link in skeleton
        if len(link) == 2 and all(isinstance(end, (int, float)) for end in link)
    )
    return chosen, names, True, links


def _fitted(names: tuple[str, ...], lists: list) -> tuple[str, ...]:
    """As many names as the annotations have keypoints, where all agree on another number."""
    sizes = {len(_flat(values)) for values in lists}
    if len(sizes) != 1 or sizes & {0, 3 * len(names), 2 * len(names)}:
        return names
    (size,) = sizes
    if size % 3:
        return names
    return names[: size // 3] + tuple(f"keypoint_{k + 1}" for k in range(len(names), size // 3))


def _names(category: dict) -> tuple[str, ...]:
    return tuple(str(name) for name in category["keypoints"])


def _joined(files) -> str:
    return ", ".join(map(str, files))


def _key(identity):
    """Ids compare as numbers where they are numbers: 7, 7.0 and "7" are one."""
    if isinstance(identity, (int, float)):
        return float(identity)
    try:
        return float(identity)
    except (TypeError, ValueError):
        return identity if isinstance(identity, str) else None


def _number(value) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _plain_number(value) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _other_type(contents: list[dict], rows: list, persons: list[dict]) -> np.ndarray:
    known = [
        {
            key: {entry.get("id") for entry in content.get(name, []) if _hashable(entry.get("id"))}
            for key, name in (("image_id", "images"), ("category_id", "categories"))
        }
        for content in contents
    ]
    alike = [{key: set(map(_key, ids)) for key, ids in one.items()} for one in known]
    found = np.zeros(len(persons), bool)
    for n, ((f, _), person) in enumerate(zip(rows, persons)):
        for key in ("image_id", "category_id"):
            value = person.get(key)
            if _hashable(value) and value not in known[f][key]:
                found[n] |= _key(value) in alike[f][key]
    return found


def _hashable(value) -> bool:
    return isinstance(value, (str, int, float))


def _column(persons: list[dict], name: str) -> np.ndarray:
    return np.array([_number(person.get(name)) for person in persons], float)


def _flat(values) -> list[float]:
    """Numbers of a flat list, a list of (x, y, v), or nothing."""
    if not isinstance(values, (list, tuple)):
        return []
    flat: list[float] = []
    for value in values:
        if isinstance(value, (list, tuple)):
            flat.extend(_number(number) for number in value)
        else:
            flat.append(_number(value))
    return flat


def _keypoints(lists: list, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, K, 3) numbers, NaN in rows of another length, and (N,) lengths."""
    keypoints = np.full((len(lists), count, 3), np.nan)
    lengths = np.zeros(len(lists), int)
    for start in range(0, len(lists), 10000):  # few Python objects at a time
        part = lists[start : start + 10000]
        stop = start + len(part)
        try:
            block = np.array(part, float).reshape(len(part), count, 3)
            keypoints[start:stop], lengths[start:stop] = block, 3 * count
        except (TypeError, ValueError):
            for n, values in enumerate(part, start):
                flat = _flat(values)
                lengths[n] = len(flat) if isinstance(values, (list, tuple, type(None))) else -1
                if len(flat) == 3 * count:
                    keypoints[n] = np.reshape(flat, (count, 3))
                elif len(flat) == 2 * count:  # no visibilities
                    keypoints[n, :, :2] = np.reshape(flat, (count, 2))
    return keypoints, lengths

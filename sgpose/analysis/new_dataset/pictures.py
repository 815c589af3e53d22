# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The pictures that annotations name: are they there, of the stated size, and seen only once?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from .findings import Finding
from .read import Table

ORIENTATION = 0x0112
# Headers of more pictures than this are read only with --decode; a sample of them otherwise.
HEADERS, SAMPLE = 20000, 3000


@dataclass(frozen=True)
class Pictures:
    """What is known of M pictures.

    Attributes:
        paths: M paths below the folder of pictures, None where there is no such file.
        bytes: (M,) sizes of the files, 0 where there is none.
        sizes: (M, 2) width and height as MMPose decodes them (turned by EXIF), NaN if not read.
        turned: (M,) EXIF orientation, 1 where there is none.
        broken: Index -> why the picture cannot be read.
        moved: Index -> where the only file of that name was found instead.
    """

    paths: list[Path | None]
    bytes: np.ndarray
    sizes: np.ndarray
    turned: np.ndarray
    broken: dict[int, str]
    moved: dict[int, str]


def look_at(table: Table, root: Path, decode: bool = False, seed: int = 0) -> Pictures:
    """Find the pictures and read their headers, or with ``decode`` all of them.

    Args:
        table: The annotations.
        root: Folder that the file names are relative to.
        decode: Decode every picture, which finds damaged ones.
        seed: Chooses whose headers are read where there are more than ``HEADERS``.
    """
    files = {name: size for name, size in _files(root)}
    by_base: dict[str, list[str]] = {}
    for name in files:
        by_base.setdefault(os.path.basename(name).lower(), []).append(name)
    paths: list[Path | None] = []
    moved = {}
    for m, name in enumerate(table.image_files):
        plain = os.path.normpath(name).replace("\\", "/") if name else ""
        if plain not in files and os.path.isabs(name) and os.path.isfile(name):
            paths.append(Path(name))
            continue
        if plain not in files:
            base = os.path.basename(name.replace("\\", "/")).lower()
            others = by_base.get(base, [])
            if len(others) == 1:
                moved[m] = others[0]
        paths.append(root / plain if plain in files else None)
    count = len(paths)
    sizes, turned = np.full((count, 2), np.nan), np.ones(count, int)
    broken: dict[int, str] = {}
    there = [m for m in range(count) if paths[m] or m in moved]
    if not decode and len(there) > HEADERS:
        there = sorted(np.random.default_rng(seed).choice(there, SAMPLE, replace=False).tolist())
    what = "decoding pictures" if decode else "reading headers"
    for m in tqdm(there, desc=what, disable=None if len(there) > 500 or decode else True):
        path = paths[m] or root / moved[m]
        try:
            with Image.open(path) as picture:
                turned[m] = picture.getexif().get(ORIENTATION, 1)
                size = picture.size[::-1] if turned[m] in (5, 6, 7, 8) else picture.size
                sizes[m] = size
                if decode:
                    picture.load()
        except (
            OSError,
            UnidentifiedImageError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:
            broken[m] = str(error)
    return Pictures(
        paths=paths,
        bytes=np.array(
            [
                files.get(os.path.normpath(name).replace("\\", "/"), 0) if name else 0
                for name in table.image_files
            ]
        ),
        sizes=sizes,
        turned=turned,
        broken=broken,
        moved=moved,
    )


def _files(root: Path) -> Iterator[tuple[str, int]]:
    """Names below a folder, with "/" between, and sizes of all files."""
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir():
                    folders.append(name)
                elif entry.is_file():
                    yield name, entry.stat().st_size


def examine_pictures(table: Table, pictures: Pictures, root: Path) -> tuple[list[Finding], Table]:
    """Compare the annotations with the pictures.

    Returns:
        The findings, and the table with file names and sizes mended where that is certain; unless
        none can be read, pictures that cannot are taken out.
    """
    findings = []
    names = list(table.image_files)

    def add(chosen, code, severity, text, todo, mendable=False):
        if chosen:
            ids = tuple(table.image_ids[m] for m in chosen)
            findings.append(Finding(code, severity, text, todo, ids, "image", mendable))

    moved = sorted(pictures.moved)
    example = f" ({names[moved[0]]} is {pictures.moved[moved[0]]})" if moved else ""
    add(
        moved,
        "file-elsewhere",
        "error",
        f"pictures are not where file_name says, but lie elsewhere below {root}{example}",
        "--fix writes where they are into a copy; or give another folder as --images",
        True,
    )
    links = [m for m, name in enumerate(names) if "://" in name]
    add(
        links,
        "file-name-url",
        "error",
        "file_name is a URL: MMPose reads files",
        "download the pictures, and export with file names",
    )
    lost = [
        m
        for m, path in enumerate(pictures.paths)
        if path is None and m not in pictures.moved and m not in set(links) and names[m]
    ]
    example = f", for instance {root / names[lost[0]]}" if lost else ""
    add(
        lost,
        "file-missing",
        "error",
        f"{len(lost)} of {len(names)} pictures are missing{example}",
        "give the folder that file_name is relative to as --images; --fix leaves them out",
        True,
    )
    broken = sorted(pictures.broken)
    example = f" ({pictures.broken[broken[0]]})" if broken else ""
    add(
        broken,
        "picture-broken",
        "error",
        f"pictures cannot be read{example}",
        "replace them; --fix leaves them out",
        True,
    )
    stated, real = table.image_sizes, pictures.sizes
    known = np.isfinite(real).all(axis=1)
    differs = known & (stated > 0).all(axis=1) & (np.abs(stated - real) > 1).any(axis=1)
    side = np.isin(pictures.turned, (5, 6, 7, 8))
    add(
        np.flatnonzero(differs & side).tolist(),
        "exif-turned",
        "error",
        "photographs are turned by EXIF and the file states the size before: MMPose turns them, "
        "so the keypoints lie elsewhere",
        "turn the files for good (PIL.ImageOps.exif_transpose) if they were annotated turned; else "
        'set dict(type="LoadImage", color_type="color_ignore_orientation") in both pipelines',
    )
    add(
        np.flatnonzero(differs & ~side).tolist(),
        "size-differs",
        "error",
        "width and height are not the picture's: were the pictures resized after annotation?",
        "annotate these pictures, or use those that were annotated. --fix writes the real sizes "
        "where all keypoints and boxes lie inside",
        True,
    )
    upside = known & np.isin(pictures.turned, (2, 3, 4)) | (known & side & ~differs)
    add(
        np.flatnonzero(upside).tolist(),
        "exif-orientation",
        "warning",
        "photographs carry an EXIF orientation: MMPose turns them, some annotation tools do not",
        "look at them in report.png or browse_targets; turn the files for good",
    )
    for m in moved:
        names[m] = pictures.moved[m]
    sizes = stated.copy()
    inside = np.ones(len(names), bool)
    points = np.where(table.labelled[..., None], table.keypoints[..., :2], 0).max(axis=1, initial=0)
    reach = np.fmax(points, table.boxes[:, :2] + table.boxes[:, 2:])
    row = table.image >= 0
    over = row & (reach > real[table.image] + 2).any(axis=1)
    inside[table.image[over]] = False
    mended = differs & ~side & inside
    sizes[mended] = real[mended]
    gone = np.zeros(len(names), bool)
    gone[[*lost, *broken, *links]] = True
    gone &= not gone.all()  # another folder is meant; the annotations can still be looked at
    table = replace(table, image_files=names, image_sizes=sizes)
    return findings, (table.take(~gone) if gone.any() else table)


def same_pictures(
    splits: Sequence[tuple[str, Table, Pictures]], decode: bool = False
) -> list[list[tuple[int, int]]]:
    """Find pictures that are there twice, by content.

    Files of one size whose first 4,096 bytes are equal are compared whole. With ``decode`` also
    pictures of other bytes but the same pixels.

    Args:
        splits: (name, annotations, pictures) of each split.
        decode: Whether to compare pixels.

    Returns:
        Groups of equal ones: (number of the split, index of the image).
    """
    entries = [
        (s, m, pictures.paths[m], int(pictures.bytes[m]))
        for s, (_, _, pictures) in enumerate(splits)
        for m in range(len(pictures.paths))
        if pictures.paths[m] is not None and m not in pictures.broken
    ]
    groups = _alike(entries, lambda e: e[3])
    groups = [g for one in groups for g in _alike(one, lambda e: _digest(e[2], 4096))]
    groups = [g for one in groups for g in _alike(one, lambda e: _digest(e[2]))]
    if decode:
        seen = {e[:2] for g in groups for e in g}
        rest = [e for e in entries if e[:2] not in seen]
        by_size = _alike(rest, lambda e: tuple(splits[e[0]][2].sizes[e[1]]))
        groups += [g for one in by_size for g in _alike(one, lambda e: _pixels(e[2]))]
    return [[e[:2] for e in group] for group in groups]


def compare_pictures(
    splits: Sequence[tuple[str, Table, Pictures]], groups: Sequence[Sequence[tuple[int, int]]]
) -> list[Finding]:
    """Say which pictures are there twice: across splits, and within one."""
    across, within = [], []
    for group in groups:
        distinct = {(s, str(splits[s][2].paths[m])) for s, m in group}
        if len({s for s, _ in distinct}) > 1:
            across.append(group)
        elif len(distinct) > 1:
            within.append(group)
    findings = []
    for found, code, severity, text, todo in (
        (
            across,
            "split-same-picture",
            "error",
            "pictures are in train and in val",
            "leave each out of one of them: what was trained on says nothing about others",
        ),
        (
            within,
            "same-picture",
            "warning",
            "pictures are there twice under other names",
            "keep one of each, or the score counts them twice",
        ),
    ):
        if found:
            ids = tuple(splits[g[-1][0]][1].image_ids[g[-1][1]] for g in found)
            names = " = ".join(splits[s][1].image_files[m] for s, m in found[0][:2])
            text = f"{len(found)} {text} ({names})"
            findings.append(Finding(code, severity, text, todo, ids, "image"))
    return findings


def _alike(entries: list, key) -> list[list]:
    groups: dict = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return [group for group in groups.values() if len(group) > 1]


def _digest(path: Path, limit: int = -1) -> bytes:
    with open(path, "rb") as file:
        return hashlib.blake2b(file.read(limit), digest_size=16).digest()


def _pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return hashlib.blake2b(picture.convert("RGB").tobytes(), digest_size=16).digest()

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""A data set of toy people in COCO's layout."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2

from ...engine.atomic_backend import AtomicBackend
from .person import KEYPOINT_NAMES
from .sample import check_count, check_fraction, toy_sample

_SKELETON = [
    [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9],
    [8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
]  # fmt: skip
_SPLITS = ("train", "val")
_MARKER = ".sgpose_toy_people"


def _prepare_folder(out_dir: Path) -> None:
    """Make the folders, without the annotations and images of an earlier run."""
    if out_dir.exists() and not out_dir.is_dir():
        raise ValueError(f"{out_dir} is a file; give a folder to write to")
    if out_dir.is_dir() and any(out_dir.iterdir()) and not (out_dir / _MARKER).is_file():
        raise ValueError(
            f"{out_dir} holds files that were not written by this generator; give a new or empty "
            "folder"
        )
    for name in ("annotations", *_SPLITS):
        if (out_dir / name).is_symlink():
            raise ValueError(f"{out_dir / name} is a link out of the folder; remove it")
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / _MARKER).touch()
    for name in ("annotations", *_SPLITS):
        (out_dir / name).mkdir(exist_ok=True)
    for split in _SPLITS:
        _annotation_file(out_dir, split).unlink(missing_ok=True)
        for image in (out_dir / split).iterdir():
            if re.fullmatch(r"\d{6,}\.png", image.name):
                image.unlink()


def _annotation_file(out_dir: Path, split: str) -> Path:
    return out_dir / "annotations" / f"person_keypoints_{split}.json"


def write_toy_people(
    out_dir: str | os.PathLike,
    num_train: int,
    num_val: int,
    clutter: float = 0.2,
    occlusion: float = 0.3,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> None:
    """Write a folder in COCO's layout that MMPose's ``CocoDataset`` and ``CocoMetric`` read.

    It holds ``annotations/person_keypoints_{train,val}.json`` and ``{train,val}/000001.png`` and so
    on. Training image ``i`` (from 1) is sample ``2 (i - 1)`` of the seed and validation image ``i``
    is sample ``2 (i - 1) + 1``: the splits share none, and a larger set begins with the smaller.
    The annotations are written last, so an interrupted run leaves none. A folder that this function
    wrote is written anew.

    Args:
        out_dir: New, empty or earlier written by this function. Nothing is written outside it.
        num_train: Number of training persons, 0 or more.
        num_val: Number of validation persons, 0 or more.
        clutter: See :func:`toy_sample`.
        occlusion: See :func:`toy_sample`.
        seed: Names the series of samples, 0 or more.
        progress: Wraps the range of image numbers of each split, for example ``tqdm``.

    Raises:
        ValueError: If an argument is out of its range or the folder holds anything else.
        OSError: If a file cannot be written.
    """
    for name, value in (("num_train", num_train), ("num_val", num_val), ("seed", seed)):
        check_count(name, value)
    check_fraction("clutter", clutter)
    check_fraction("occlusion", occlusion)
    out_dir = Path(out_dir)
    _prepare_folder(out_dir)

    contents = {}
    for offset, (split, count) in enumerate(zip(_SPLITS, (num_train, num_val))):
        images, annotations = [], []
        for number in progress(range(1, count + 1)):
            image, annotation = toy_sample(seed, 2 * (number - 1) + offset, clutter, occlusion)
            file_name = f"{number:06d}.png"
            path = out_dir / split / file_name
            if not cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
                raise OSError(f"cannot write {path}")
            height, width = image.shape[:2]
            images.append({"id": number, "file_name": file_name, "width": width, "height": height})
            annotations.append({"id": number, "image_id": number, **annotation})
        contents[split] = {
            "info": {
                "description": f"toy people, {split}",
                "seed": seed,
                "clutter": clutter,
                "occlusion": occlusion,
            },
            "images": images,
            "annotations": annotations,
            "categories": [
                {
                    "id": 1,
                    "name": "person",
                    "supercategory": "person",
                    "keypoints": list(KEYPOINT_NAMES),
                    "skeleton": _SKELETON,
                }
            ],
        }
    for split, content in contents.items():
        AtomicBackend().put_text(json.dumps(content), _annotation_file(out_dir, split))

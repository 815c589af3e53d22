# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""A data set's metainfo, as MMPose wants it, from the names of its keypoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import mmpose
import numpy as np
from mmengine.config import Config
from scipy.optimize import linear_sum_assignment

LEFT, RIGHT, MIDDLE = [0, 255, 0], [255, 128, 0], [51, 153, 255]
EQUAL_SIGMA = 0.05
WORDS = {"left": "left", "l": "left", "right": "right", "r": "right"}


def words(name: str) -> list[str]:
    """Lower-case words of a name in snake_case, camelCase, with dashes, dots, spaces or digits."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"[a-z]+|\d+|[^\W\d_a-z]+", spaced.lower())


def side(name: str) -> str:
    """ "left", "right" or "" for a keypoint's name.

    The whole word counts wherever it stands, glued to another one too ("leftEye", "eyeleft"); the
    letter alone only first or last ("l_eye", "eye-R", "LEye").
    """
    return _split(name)[0]


def _split(name: str) -> tuple[str, tuple[str, ...]]:
    """Side and the words of a name without it."""
    parts = words(name)
    for place in [0, len(parts) - 1, *range(1, len(parts) - 1)]:
        if parts and parts[place] in ("left", "right"):
            return parts[place], tuple(parts[:place] + parts[place + 1 :])
    for place in (0, -1):
        if len(parts) > 1 and parts[place] in ("l", "r"):
            rest = parts[1:] if place == 0 else parts[:-1]
            return WORDS[parts[place]], tuple(rest)
    for place, part in enumerate(parts):
        for word in ("left", "right"):
            bare = part[len(word) :] if part.startswith(word) else part[: -len(word)]
            if part != word and (part.startswith(word) or part.endswith(word)) and len(bare) > 1:
                return word, tuple([*parts[:place], bare, *parts[place + 1 :]])
    # "l" or "r" in the middle, as in "toe_l_2"
    for place in range(1, len(parts) - 1):
        if parts[place] in ("l", "r"):
            return WORDS[parts[place]], tuple(parts[:place] + parts[place + 1 :])
    return "", tuple(parts)


def swap_indices(names: Sequence[str]) -> list[int]:
    """Index of each keypoint's partner on the other side; its own where it has none."""
    split = [_split(name) for name in names]
    place = {key: k for k, key in reversed(list(enumerate(split)))}
    other = {"left": "right", "right": "left", "": ""}
    swaps = []
    for k, (of, rest) in enumerate(split):
        partner = place.get((other[of], rest), k)
        swaps.append(partner if place[split[k]] == k else k)
    return [p if swaps[p] == k else k for k, p in enumerate(swaps)]


def lonely(names: Sequence[str]) -> list[str]:
    """Names of a side without a partner on the other."""
    return [n for k, n in enumerate(names) if side(n) and swap_indices(names)[k] == k]


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names with numbers added where one comes again; MMPose tells keypoints by their names."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return tuple(result)


def mirrored_pairs(shapes: np.ndarray, labelled: np.ndarray) -> list[int] | None:
    """Partners on the other side from where keypoints lie, for objects that are seen upright.

    The mean shape is laid over its mirror image, point to point.

    Args:
        shapes: (N, K, 2) keypoints relative to their box, 0 to 1.
        labelled: (N, K) bool.

    Returns:
        K indices, or None where the shape does not say: too few objects, seen from all sides, or
        not symmetric.
    """
    often = labelled.sum(axis=0)
    if len(shapes) < 30 or not len(often) or often.min() < 10:
        return None
    points = np.where(labelled[..., None], shapes, np.nan)
    mean, spread = np.nanmedian(points, axis=0), np.nanstd(points, axis=0)
    mirror = mean * (-1, 1) + (2 * np.median(mean[:, 0]), 0)
    for _ in range(3):  # the axis settles where the pairs agree
        distance = np.linalg.norm(mean[:, None] - mirror[None], axis=2)
        rows, columns = linear_sum_assignment(distance)
        shift = np.median(mean[rows, 0] - mirror[columns, 0])
        mirror = mirror + (shift, 0)
    swaps = columns.tolist()
    between = np.linalg.norm(mean[:, None] - mean[None], axis=2)
    np.fill_diagonal(between, np.inf)
    cost = distance[rows, columns]
    tight = np.median(spread[:, 0]) < 0.5 * np.ptp(mean[:, 0])
    involution = all(swaps[swaps[k]] == k for k in range(len(swaps)))
    if not (involution and tight and np.median(cost) < 0.5 * np.median(between.min(axis=1))):
        return None
    return swaps


def skeleton_links(
    skeleton: Sequence[Sequence[int]], count: int, swaps: Sequence[int] = ()
) -> tuple[list[tuple[int, int]], str]:
    """Links counted from 0, and what was found: "", "from 0", "from 1" or "unusable".

    COCO counts from 1, some tools from 0. A 0 or a K decides. Else more mirrored links do.
    """
    links = [tuple(link) for link in skeleton]
    if not links:
        return [], ""
    ends = {end for link in links for end in link}
    zero, one = max(ends) < count and min(ends) >= 0, min(ends) >= 1 and max(ends) <= count
    if not (zero or one):
        base = 1 if 0 not in ends else 0
        inside = [link for link in links if all(0 <= end - base < count for end in link)]
        return [(a - base, b - base) for a, b in inside], "unusable"
    base = 1 if one else 0
    if zero and one and swaps:
        base = max((1, 0), key=lambda b: _mirrored([(x - b, y - b) for x, y in links], swaps))
    return [(a - base, b - base) for a, b in links], f"from {base}"


def _mirrored(links, swaps) -> int:
    both = {frozenset(link) for link in links}
    return sum(frozenset((swaps[a], swaps[b])) in both for a, b in links)


def mmpose_datasets() -> Path:
    """The folder of the metainfo files that MMPose ships."""
    package = Path(mmpose.__file__).parent
    folder = package / ".mim" / "configs" / "_base_" / "datasets"
    return folder if folder.is_dir() else package.parent / "configs" / "_base_" / "datasets"


def _familiar(path: Path) -> tuple[bool, str]:
    """Order in which data sets with the same names are taken."""
    return path.stem not in ("coco", "aic", "ap10k", "crowdpose", "mpii"), path.stem


@cache
def known_metainfo() -> dict[tuple[str, ...], tuple[str, dict]]:
    """MMPose's own data sets: words of the names, in order -> file name and ``dataset_info``."""
    found: dict = {}
    for path in sorted(mmpose_datasets().glob("*.py"), key=_familiar):
        content = Config.fromfile(path, import_custom_modules=False)
        info = content.get("dataset_info")
        if info and len(info.sigmas) == len(info.keypoint_info):
            order = sorted(info.keypoint_info, key=int)
            key = tuple(_plain(info.keypoint_info[k].name) for k in order)
            found.setdefault(key, (path.stem, info.to_dict()))
    return found


def _plain(name: str) -> str:
    of, rest = _split(name)
    return " ".join([of, *rest])


def like(names: Sequence[str]) -> tuple[str, dict] | None:
    """Name and ``dataset_info`` of the data set of MMPose with the same names in the same order."""
    return known_metainfo().get(tuple(map(_plain, names)))


def make_metainfo(
    dataset_name: str,
    names: Sequence[str],
    links: Sequence[Sequence[int]],
    swaps: Sequence[int],
) -> tuple[dict, str]:
    """MMPose's ``dataset_info``.

    Args:
        dataset_name: Its name.
        names: K different names.
        links: Pairs of indices from 0.
        swaps: K indices of the partners on the other side.

    Returns:
        The dict, and where its sigmas come from: the name of a data set, or "".
    """
    known = like(names)
    sides = ["left" if side(n) == "left" else "right" if side(n) == "right" else "" for n in names]
    colour = {"left": LEFT, "right": RIGHT, "": MIDDLE}
    types = {}
    if known:
        types = {int(k): v.get("type", "") for k, v in known[1]["keypoint_info"].items()}
        if not links:
            place = [v["name"] for v in known[1]["keypoint_info"].values()]
            links = [
                tuple(place.index(end) for end in link["link"])
                for link in known[1]["skeleton_info"].values()
            ]
    info = dict(
        dataset_name=dataset_name,
        keypoint_info={
            k: dict(
                name=name,
                id=k,
                color=colour[sides[k]],
                type=types.get(k, ""),
                swap=names[swaps[k]] if swaps[k] != k else "",
            )
            for k, name in enumerate(names)
        },
        skeleton_info={
            i: dict(
                link=(names[a], names[b]),
                id=i,
                color=colour[sides[a]] if sides[a] == sides[b] else MIDDLE,
            )
            for i, (a, b) in enumerate(links)
        },
        joint_weights=[1.0] * len(names),
        sigmas=list(map(float, known[1]["sigmas"])) if known else [EQUAL_SIGMA] * len(names),
    )
    return info, known[0] if known else ""


def metainfo_text(info: dict, comment: str) -> str:
    """The Python file that holds a ``dataset_info``."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += ["dataset_info = dict(", f"    dataset_name={info['dataset_name']!r},"]
    for key in ("keypoint_info", "skeleton_info"):
        lines.append(f"    {key}={{")
        for k, entry in info[key].items():
            values = ", ".join(f"{name}={value!r}" for name, value in entry.items())
            lines.append(f"        {k}: dict({values}),")
        lines.append("    },")
    lines.append(f"    joint_weights={info['joint_weights']!r},")
    lines.append(f"    sigmas={info['sigmas']!r},")
    return "\n".join([*lines, ")", ""])

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""How poses are drawn: the colours, which exported files carry along, and the drawing."""

from __future__ import annotations

import re
from collections.abc import Sequence

LEFT, RIGHT, MIDDLE = (0, 255, 0), (255, 128, 0), (51, 153, 255)
_SIDES = {"left": LEFT, "l": LEFT, "right": RIGHT, "r": RIGHT}


def side_colors(names: Sequence[str], links: Sequence[Sequence[int]]) -> tuple[list, list]:
    """Choose colours by side: left is green, right orange, and what is neither blue.

    Args:
        names: Names of K keypoints, such as ``left_knee`` or ``R_Knee``.
        links: Pairs of their numbers; a limb has the colour of its ends, or of the one
            that is on a side.

    Returns:
        Red, green and blue of each keypoint, and of each limb.
    """
    sides = [_side(name) for name in names]
    return sides, [_shared(sides[a], sides[b]) for a, b in links]


def _side(name: str) -> tuple[int, int, int]:
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return next((_SIDES[word] for word in words if word in _SIDES), MIDDLE)


def _shared(a: tuple, b: tuple) -> tuple:
    """Return the colour of a limb: from the middle to a side it is that side's."""
    if a == MIDDLE:
        return b
    return a if b in (a, MIDDLE) else MIDDLE

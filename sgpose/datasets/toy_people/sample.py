# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""One person in one image, with its annotation."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .canvas import (
    SKIN,
    Canvas,
    backdrop_colour,
    cloth_colour,
    discs,
    pick_colour,
    random_shape,
    shade,
    texture,
)
from .person import (
    HEAD,
    KEYPOINT_NAMES,
    Person,
    draw_person,
    random_person,
    turned_to_view,
    visible_parts,
)

# Every layer of a sample draws from a stream of its own: changing one leaves the others alone.
_PERSON, _PLACE, _BACKGROUND, _SHAPES, _DISTRACTORS, _OCCLUDER = range(6)


def _rng(seed: int, index: int, layer: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, layer)))


def check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


def check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{name} must be an integer of 0 or more, got {value!r}")


def _place(person: Person, rng: np.random.Generator) -> tuple[int, int, float, np.ndarray]:
    """Choose image width, height, scale and origin; one person in twenty is cut by the frame."""
    width, height = int(rng.integers(112, 153)), int(rng.integers(148, 201))
    points = np.array([point[:2] for point in person.points.values()])
    low, high = points.min(0) - 0.05, points.max(0) + 0.05
    fill = rng.uniform(1.05, 1.25) if rng.random() < 0.05 else rng.uniform(0.76, 0.95)
    scale = fill * float(np.min((width, height) / (high - low)))
    slack = (width, height) - scale * (high - low)
    return width, height, scale, rng.random(2) * slack - scale * low


def _draw_background(
    canvas: Canvas, person: Person, scale: float, clutter: float, seed: int, index: int
) -> None:
    image, (height, width) = canvas.image, canvas.labels.shape
    rng = _rng(seed, index, _BACKGROUND)
    corners = np.array([backdrop_colour(rng, clutter) for _ in range(2)], np.float32)
    corners[1] = corners[0] + rng.uniform(0, 0.6) * (corners[1] - corners[0])
    ends = corners[[[0, 0], [1, 1]] if rng.random() < 0.5 else [[0, 1], [0, 1]]]
    blotches = rng.uniform(-1, 1, (7, 6, 3)).astype(np.float32) * 110 * clutter
    smooth = cv2.resize(ends, (width, height), interpolation=cv2.INTER_LINEAR)
    spots = cv2.resize(blotches, (width, height), interpolation=cv2.INTER_LINEAR)
    image[:] = np.clip(cv2.add(smooth, spots), 0, 255)

    rng = _rng(seed, index, _SHAPES)
    for _ in range(round(14 * clutter)):
        centre = rng.random(2) * (width, height)
        shape = random_shape(rng, centre, scale * rng.uniform(0.04, 0.22, 2))
        colour, second = backdrop_colour(rng, clutter), backdrop_colour(rng, clutter)
        textured = rng.random() < 0.5
        canvas.labels[:] = 0
        canvas.hull(shape, colour, 1)
        if textured:
            texture(image, canvas.labels, second, rng)

    rng = _rng(seed, index, _DISTRACTORS)
    for _ in range(round(12 * max(0.0, clutter - 0.3) / 0.7)):
        _draw_distractor(canvas, person, scale, rng)
    canvas.labels[:] = 0


def _draw_distractor(
    canvas: Canvas, person: Person, scale: float, rng: np.random.Generator
) -> None:
    """Draw a loose limb (three in four) or torso, half of them in the person's own colours."""
    height, width = canvas.labels.shape
    own = rng.random() < 0.5
    cloth = person.colours[("shirt", "trousers")[rng.integers(2)]] if own else cloth_colour(rng)
    skin = person.colours["skin"] if own else pick_colour(rng, SKIN)
    start = rng.random(2) * (width, height)
    thick = scale * rng.uniform(0.75, 1.25)
    angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-1.6, 1.6)
    ahead = np.array([math.cos(angle), math.sin(angle)])
    if rng.random() < 0.25:
        across = np.array([-ahead[1], ahead[0]]) * thick * rng.uniform(0.06, 0.1)
        end = start + 0.26 * scale * ahead
        corners = [start + across, start - across, end + 0.7 * across, end - 0.7 * across]
        canvas.hull(discs(*(v for corner in corners for v in (corner, 0.045 * thick))), cloth, 1)
        return
    middle = start + scale * rng.uniform(0.13, 0.24) * ahead
    angle += bend
    end = middle + scale * rng.uniform(0.12, 0.22) * np.array([math.cos(angle), math.sin(angle)])
    lower = cloth if rng.random() < 0.5 else skin
    canvas.hull(discs(end, 0.03 * thick), skin, 1)
    canvas.hull(discs(middle, 0.04 * thick, end, 0.027 * thick), lower, 1)
    canvas.hull(discs(start, 0.052 * thick, middle, 0.04 * thick), cloth, 1)
    canvas.hull(discs(middle, 0.028 * thick), shade(cloth, 0.72), 1, False)


def _draw_occluder(
    canvas: Canvas, keypoints: np.ndarray, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Lay one opaque plain shape over part of the person.

    Args:
        canvas: Its image is drawn on in place.
        keypoints: (17, 3) x, y, visibility.
        scale: Body height in pixels.
        rng: Source of place, form and colour.

    Returns:
        Boolean (H, W): the pixels that show nothing but the occluder. They hold at most half of
        the labelled keypoints.
    """
    labelled = np.flatnonzero(keypoints[:, 2])
    centre = keypoints[rng.choice(labelled), :2] + rng.normal(0, 0.04 * scale, 2)
    shape = random_shape(rng, centre, scale * rng.uniform(0.07, 0.22, 2))
    colour = cloth_colour(rng)
    x, y = np.round(keypoints[labelled, :2]).astype(int).T
    while True:
        cover = Canvas.of(np.zeros_like(canvas.image))
        cover.hull(shape, colour, 1, outline=False)
        if 2 * np.count_nonzero(cover.labels[y, x]) <= len(labelled):
            break
        shape = centre + 0.8 * (shape - centre)
    canvas.hull(shape, colour, 1, outline=False)
    return (cover.labels > 0) & (canvas.image == colour).all(-1)


def toy_sample(
    seed: int, index: int, clutter: float = 0.2, occlusion: float = 0.3
) -> tuple[np.ndarray, dict]:
    """Draw one person in one image.

    The same ``seed`` and ``index`` give the same person at the same place whatever the other two
    arguments are; they change the background and whether the occluder is there.

    Args:
        seed: Names a series of samples, 0 or more.
        index: Number of the sample in the series, 0 or more.
        clutter: 0 is a plain or graded background; blotches and textured shapes grow with it, and
            above 0.3 loose limbs and torsos, some in the person's own colours, are added.
        occlusion: Probability in [0, 1] that an opaque shape lies over part of the person.

    Returns:
        The BGR uint8 image (H, W, 3), 112 to 152 px wide and 148 to 200 px high, and a COCO person
        annotation without its ids: ``keypoints`` (51 numbers: x, y in pixels and v), where v is 2
        for seen, 1 for hidden by the occluder or by the person's own body, 0 (with x = y = 0) for
        outside the image or on the far side of the head; ``num_keypoints`` with v > 0; ``bbox``
        (x, y, w, h) and ``area`` in pixels of the whole drawn person within the image, whether the
        occluder hides it or not; ``iscrowd`` 0; ``category_id`` 1.

    Raises:
        ValueError: If an argument is out of its range.
    """
    check_count("seed", seed)
    check_count("index", index)
    check_fraction("clutter", clutter)
    check_fraction("occlusion", occlusion)

    person = random_person(_rng(seed, index, _PERSON))
    width, height, scale, origin = _place(person, _rng(seed, index, _PLACE))
    canvas = Canvas.of(np.zeros((height, width, 3), np.uint8))
    _draw_background(canvas, person, scale, clutter, seed, index)
    draw_person(canvas, person, scale, origin)

    keypoints = np.zeros((17, 3))
    for number, name in enumerate(KEYPOINT_NAMES):
        x, y = np.round(person.points[name][:2] * scale + origin, 2)
        inside = 0 <= x <= width - 1 and 0 <= y <= height - 1
        if inside and (visible_parts(name) != (HEAD,) or turned_to_view(person, name)):
            seen = canvas.labels[round(y), round(x)] in visible_parts(name)
            keypoints[number] = x, y, 2 if seen else 1

    x, y, w, h = cv2.boundingRect(canvas.labels)
    area = int(np.count_nonzero(canvas.labels))
    rng = _rng(seed, index, _OCCLUDER)
    if rng.random() < occlusion:
        covered = _draw_occluder(canvas, keypoints, scale, rng)
        columns, rows = np.round(keypoints[:, :2]).astype(int).T
        keypoints[(keypoints[:, 2] == 2) & covered[rows, columns], 2] = 1

    return canvas.image, {
        "keypoints": [int(v) if k % 3 == 2 else float(v) for k, v in enumerate(keypoints.flat)],
        "num_keypoints": int(np.count_nonzero(keypoints[:, 2])),
        "bbox": [x, y, w, h],
        "area": area,
        "iscrowd": 0,
        "category_id": 1,
    }

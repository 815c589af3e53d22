# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Toy people: a seeded generator of drawn persons with COCO-17 keypoints.

A person is a 3-D skeleton in units of its own height, turned to the view and drawn as outlined
capsules from back to front. Left and right differ by the face and the clothes' front alone, never
by colour, so a mirrored picture with swapped names is again a valid sample.

View frame: x right, y down, z towards the viewer. Pixel centres lie at integer coordinates.
Images are BGR uint8 (H, W, 3).
"""

from __future__ import annotations

import colorsys
import json
import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

KEYPOINT_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
_SKELETON = [
    [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9],
    [8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
]  # fmt: skip
_SPLITS = ("train", "val")
_MARKER = ".sgpose_toy_people"

# Every layer of a sample draws from a stream of its own: changing one leaves the others alone.
_PERSON, _PLACE, _BACKGROUND, _SHAPES, _DISTRACTORS, _OCCLUDER = range(6)

_TORSO, _HEAD, _LEFT_ARM, _RIGHT_ARM, _LEFT_LEG, _RIGHT_LEG = range(1, 7)
_LIMBS = {
    "left_arm": _LEFT_ARM,
    "right_arm": _RIGHT_ARM,
    "left_leg": _LEFT_LEG,
    "right_leg": _RIGHT_LEG,
}
_SIDES = (("left", 1.0), ("right", -1.0))

# Limb poses: (polar, azimuth) of the upper and of the lower segment in degrees. Polar 0 is down,
# 90 level, 180 up; azimuth 0 is sideways, 90 forwards, 180 across the body.
_ARM_POSES = np.array(
    [
        [(14, 20), (18, 55)],  # hanging
        [(28, 40), (95, 75)],  # held forwards
        [(48, -15), (55, 165)],  # hand on the hip
        [(80, 5), (85, 10)],  # stretched sideways
        [(92, 0), (165, 10)],  # waving
        [(152, 5), (166, 20)],  # raised
        [(25, 60), (70, 150)],  # before the belly
    ],
    dtype=float,
)
_ARM_WEIGHTS = np.array([0.28, 0.12, 0.14, 0.14, 0.14, 0.12, 0.06])
_LEG_POSES = np.array(
    [
        [(6, 0), (4, 0)],  # standing
        [(22, 10), (16, 0)],  # astride
        [(26, 85), (8, -60)],  # stepping forwards
        [(20, -85), (38, -85)],  # pushing off
        [(66, 40), (8, 0)],  # knee up
        [(70, 72), (8, 80)],  # seated
    ],
    dtype=float,
)
# Pairs (left, right) of rows above.
_STANCES = ((0, 0), (1, 1), (2, 3), (3, 2), (4, 0), (0, 4), (5, 5), (1, 0), (0, 1))
_STANCE_WEIGHTS = np.array([0.26, 0.2, 0.12, 0.12, 0.07, 0.07, 0.06, 0.05, 0.05])

# Hue, saturation, value.
_SKIN = (
    (0.06, 0.25, 0.98),
    (0.07, 0.38, 0.9),
    (0.07, 0.5, 0.75),
    (0.06, 0.55, 0.55),
    (0.05, 0.55, 0.4),
)
_HAIR = (
    (0.08, 0.6, 0.25),
    (0.07, 0.7, 0.42),
    (0.12, 0.6, 0.85),
    (0.04, 0.8, 0.6),
    (0.0, 0.0, 0.12),
    (0.1, 0.05, 0.7),
)


@dataclass(frozen=True)
class Person:
    """A posed and dressed person, not yet placed in an image.

    Attributes:
        points: 3-D points in the view frame, in body heights: the 17 keypoints by name and
            ``neck``, ``head``, ``{left,right}_hand``, ``{left,right}_toe``.
        turn: (3, 3) rotation from the body's frame (x to its left, y down, z forwards) to the view.
        head_turn: (3, 3) rotation of the head's frame, likewise.
        head_size: (3,) half axes of the head in body heights.
        bulk: thickness of body and limbs, 1 is average.
        colours: BGR colours of ``skin``, ``hair``, ``shirt``, ``trim``, ``trousers``, ``shoes``.
        sleeve: 0 none, 1 short, 2 long.
        legwear: 0 shorts, 1 trousers, 2 skirt.
        long_hair: whether the hair falls to the shoulders.
        stripes: number of stripes on the shirt.
    """

    points: dict[str, np.ndarray]
    turn: np.ndarray
    head_turn: np.ndarray
    head_size: np.ndarray
    bulk: float
    colours: dict[str, tuple[int, int, int]]
    sleeve: int
    legwear: int
    long_hair: bool
    stripes: int


@dataclass(frozen=True)
class Canvas:
    """An image and the part on top at each pixel.

    Attributes:
        image: (H, W, 3) BGR uint8.
        labels: (H, W) uint8: 0 none, 1 torso, 2 head, 3 left arm, 4 right arm, 5 left leg, 6 right
            leg. Free for masks before a person is drawn.
    """

    image: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> Canvas:
        """A canvas on an image, with no part on it."""
        return cls(image, np.zeros(image.shape[:2], np.uint8))

    def hull(self, points: np.ndarray, colour, label: int, outline: bool = True) -> None:
        """Fill the convex hull of ``points`` (N, 2), in pixels, with a darker rim."""
        polygon = cv2.convexHull(np.round(np.asarray(points) * 16).astype(np.int32))
        cv2.fillConvexPoly(self.image, polygon, colour, cv2.LINE_AA, 4)
        if outline:
            cv2.polylines(self.image, [polygon], True, _shade(colour, 0.55), 1, cv2.LINE_AA, 4)
        cv2.fillConvexPoly(self.labels, polygon, label, cv2.LINE_8, 4)


def _rng(seed: int, index: int, layer: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, layer)))


def _bgr(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(saturation, 1.0), min(value, 1.0))
    return round(255 * blue), round(255 * green), round(255 * red)


def _shade(colour, factor: float) -> tuple[int, int, int]:
    return tuple(min(255, round(factor * c)) for c in colour)


def _pick(rng: np.random.Generator, palette) -> tuple[int, int, int]:
    hue, saturation, value = palette[rng.integers(len(palette))]
    jitter = rng.uniform(-1, 1, 3)
    return _bgr(
        hue + 0.01 * jitter[0],
        saturation * (1 + 0.1 * jitter[1]),
        value * (1 + 0.06 * jitter[2]),
    )


def _cloth(rng: np.random.Generator) -> tuple[int, int, int]:
    return _bgr(rng.random(), rng.uniform(0.4, 0.95), rng.uniform(0.4, 1.0))


def _backdrop(rng: np.random.Generator, clutter: float) -> tuple[int, int, int]:
    """A colour that is pale beside clothes without clutter and as strong as they with it."""
    return _bgr(rng.random(), (0.2 + 0.8 * clutter) * rng.random(), rng.uniform(0.3, 1.0))


def _rotation(yaw: float, roll: float) -> np.ndarray:
    """Turn about the vertical by ``yaw``, then in the image plane by ``roll`` (radians)."""
    cy, sy, cr, sr = math.cos(yaw), math.sin(yaw), math.cos(roll), math.sin(roll)
    return np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ np.array(
        [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]
    )


def _direction(side: float, polar: float, azimuth: float) -> np.ndarray:
    polar, azimuth = math.radians(polar), math.radians(azimuth)
    return np.array(
        [
            side * math.sin(polar) * math.cos(azimuth),
            math.cos(polar),
            math.sin(polar) * math.sin(azimuth),
        ]
    )


def random_person(rng: np.random.Generator) -> Person:
    """Draw pose, proportions and clothes of one person.

    About five in six face the viewer within 45 degrees; the others turn their back.
    """
    away = rng.random() < 1 / 6
    facing = math.pi if away else 0.0
    yaw = math.radians(float(np.clip(rng.normal(0, 20), -45, 45)))
    roll = math.radians(float(np.clip(rng.normal(0, 7), -22, 22)))
    turn = _rotation(facing + yaw, roll)
    head_yaw = float(np.clip(yaw + math.radians(rng.normal(0, 12)), -1.0, 1.0))
    head_turn = _rotation(facing + head_yaw, roll + math.radians(rng.normal(0, 9)))

    head = np.array([0.078, 0.094, 0.084]) * rng.uniform(0.9, 1.12)
    trunk, leg, arm = 0.29 * rng.uniform(0.9, 1.1, 3) * (1.0, 0.82, 0.6)
    bulk = rng.uniform(0.82, 1.25)
    shoulder, hip = 0.108 * rng.uniform(0.9, 1.15), 0.066 * rng.uniform(0.9, 1.15)

    lean = math.radians(rng.normal(0, 6))
    up, across = np.array([math.sin(lean), -math.cos(lean), 0]), np.array([1.0, 0, 0])
    body = {"neck": up * trunk}
    body["head"] = body["neck"] + up * (0.045 + head[1])
    stance = _STANCES[rng.choice(len(_STANCES), p=_STANCE_WEIGHTS)]
    for number, (name, side) in enumerate(_SIDES):
        body[f"{name}_hip"] = across * side * hip
        poses = _LEG_POSES[stance[number]] + rng.normal(0, (6, 10), (2, 2))
        knee = body[f"{name}_knee"] = body[f"{name}_hip"] + leg * _direction(side, *poses[0])
        shin = _direction(side, *poses[1])
        body[f"{name}_ankle"] = knee + 0.96 * leg * shin
        body[f"{name}_toe"] = body[f"{name}_ankle"] + (0.012 * side, 0.028, 0.055)

        body[f"{name}_shoulder"] = body["neck"] + across * side * shoulder - up * 0.025
        row = rng.choice(len(_ARM_POSES), p=_ARM_WEIGHTS)
        poses = _ARM_POSES[row] + rng.normal(0, (9, 15), (2, 2))
        elbow = body[f"{name}_shoulder"] + arm * _direction(side, *poses[0])
        body[f"{name}_elbow"] = elbow
        forearm = _direction(side, *poses[1])
        body[f"{name}_wrist"] = elbow + 0.9 * arm * forearm
        body[f"{name}_hand"] = body[f"{name}_wrist"] + 0.035 * forearm
    points = {name: turn @ point for name, point in body.items()}
    face = {"nose": (0, 0.12, 0.99)}
    for name, side in _SIDES:
        face[f"{name}_eye"] = (0.38 * side, -0.12, 0.9)
        face[f"{name}_ear"] = (1.0 * side, 0.02, -0.05)
    for name, point in face.items():
        points[name] = points["head"] + head_turn @ (np.array(point) * head)

    return Person(
        points=points,
        turn=turn,
        head_turn=head_turn,
        head_size=head,
        bulk=bulk,
        colours={
            "skin": _pick(rng, _SKIN),
            "hair": _cloth(rng) if rng.random() < 0.15 else _pick(rng, _HAIR),
            "shirt": _cloth(rng),
            "trim": _cloth(rng),
            "trousers": _cloth(rng),
            "shoes": _cloth(rng),
        },
        sleeve=int(rng.integers(3)),
        legwear=int(rng.choice(3, p=(0.3, 0.5, 0.2))),
        long_hair=bool(rng.random() < 0.35),
        stripes=int(rng.choice((0, 0, 0, 2, 3, 5))),
    )


_CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 16, endpoint=False)) for f in (np.cos, np.sin)], 1)

# Rim of the face on the head's unit sphere: 68 degrees around a direction a little below ahead.
_FACE = (
    np.cos(1.19) * np.array([0, 0.34, 0.94])
    + np.sin(1.19) * _CIRCLE[:, :1] * np.array([1, 0, 0])
    + np.sin(1.19) * _CIRCLE[:, 1:] * np.array([0, 0.94, -0.34])
)


def _discs(*centres_and_radii) -> np.ndarray:
    """Rim points of discs given as centre, radius, centre, radius, ..."""
    pairs = zip(centres_and_radii[::2], centres_and_radii[1::2])
    return np.concatenate([centre + radius * _CIRCLE for centre, radius in pairs])


def draw_person(canvas: Canvas, person: Person, scale: float, origin: np.ndarray) -> None:
    """Draw a person from back to front.

    Args:
        canvas: Drawn on in place.
        person: The person.
        scale: Body height in pixels.
        origin: (2,) pixel of the point midway between the hips.
    """
    at = {name: point[:2] * scale + origin for name, point in person.points.items()}
    size = scale * person.bulk
    parts = [(0.0, _draw_torso, (size,)), (0.01, _draw_head, (scale,))]
    for side, _ in _SIDES:
        for limb, joints, bias in (
            ("arm", ("shoulder", "elbow", "wrist"), 0.02),
            ("leg", ("hip", "knee", "ankle"), -0.06),
        ):
            z = [person.points[f"{side}_{joint}"][2] for joint in joints]
            for segment in (0, 1):
                depth = (z[segment] + z[segment + 1]) / 2 + bias - 0.004 * segment
                parts.append((depth, _draw_segment, (size, side, limb, segment)))
    for _, draw, arguments in sorted(parts, key=lambda part: part[0]):
        draw(canvas, person, at, *arguments)


def _turned_to_view(person: Person, name: str) -> bool:
    """Whether a point of the face lies on the visible side of the head."""
    normal = person.points[name] - person.points["head"]
    return bool(normal[2] > (-0.6 if name.endswith("ear") else 0.12) * np.linalg.norm(normal))


def _draw_segment(canvas, person, at, size, side: str, limb: str, segment: int) -> None:
    colours, label = person.colours, _LIMBS[f"{side}_{limb}"]
    if limb == "arm":
        a, b, c = (at[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        if segment:
            canvas.hull(_discs(at[f"{side}_hand"], 0.028 * size), colours["skin"], label)
        ends, radii = ((a, b), (b, c))[segment], ((0.044, 0.034), (0.034, 0.024))[segment]
        covered = ((0.0, 0.55, 1.0), (0.0, 0.0, 0.9))[segment][person.sleeve]
        cloth = colours["shirt"]
    else:
        a, b, c = (at[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        if segment:
            shoe = _discs(c + (0, 0.01 * size), 0.03 * size, at[f"{side}_toe"], 0.026 * size)
            canvas.hull(shoe, colours["shoes"], label)
        ends, radii = ((a, b), (b, c))[segment], ((0.064, 0.046), (0.046, 0.03))[segment]
        covered = ((0.7, 1.0, 0.0), (0.0, 0.93, 0.0))[segment][person.legwear]
        cloth = colours["trousers"]

    (start, stop), (r0, r1) = ends, np.array(radii) * size
    if covered < 1:
        canvas.hull(_discs(start, r0, stop, r1), colours["skin"], label)
    if covered > 0:
        end = start + covered * (stop - start)
        radius = r0 + covered * (r1 - r0) + (0.004 * size if covered < 1 else 0)
        canvas.hull(_discs(start, r0, end, radius), cloth, label)
    patch, radius = (start, r0) if segment else (stop, r1)
    colour = cloth if covered == 1 or (segment and covered > 0) else colours["skin"]
    canvas.hull(_discs(patch, 0.7 * radius), _shade(colour, 0.72), label, False)


def _draw_torso(canvas, person, at, size) -> None:
    colours = person.colours
    left, right = at["left_shoulder"], at["right_shoulder"]
    left_hip, right_hip = at["left_hip"], at["right_hip"]
    pelvis = [left_hip, 0.066 * size, right_hip, 0.066 * size]
    if person.legwear == 2:
        for side in ("left", "right"):
            hem = 0.45 * at[f"{side}_hip"] + 0.55 * at[f"{side}_knee"]
            pelvis += [hem, 0.068 * size]
    canvas.hull(_discs(*pelvis), colours["trousers"], _TORSO)
    canvas.hull(
        _discs(at["neck"], 0.036 * size, 0.6 * at["neck"] + 0.4 * at["head"], 0.034 * size),
        _shade(colours["skin"], 0.88),
        _TORSO,
    )
    belt = 0.18
    hem_l, hem_r = left_hip + belt * (left - left_hip), right_hip + belt * (right - right_hip)
    canvas.hull(
        _discs(left, 0.042 * size, right, 0.042 * size, hem_l, 0.056 * size, hem_r, 0.056 * size),
        colours["shirt"],
        _TORSO,
    )
    for number in range(person.stripes):
        t = 0.12 + 0.76 * (number + 0.5) / person.stripes
        a, b = left + t * (hem_l - left), right + t * (hem_r - right)
        canvas.hull(_discs(a, 0.009 * size, b, 0.009 * size), colours["trim"], _TORSO, False)

    ahead = person.turn[:2, 2] * 0.05 * size
    chest = at["neck"] + ahead
    belly = (hem_l + hem_r) / 2 + ahead
    if person.turn[2, 2] > 0:
        across = (left - right) * 0.16
        collar = np.stack([at["neck"] + across, at["neck"] - across, chest + 0.3 * (belly - chest)])
        canvas.hull(collar, colours["skin"], _TORSO)
        for t in (0.45, 0.65, 0.85):
            button = chest + t * (belly - chest)
            canvas.hull(_discs(button, 0.011 * size), colours["trim"], _TORSO)


def _draw_head(canvas, person, at, scale) -> None:
    colours, turn, size = person.colours, person.head_turn, person.head_size * scale
    centre = at["head"]

    def on_head(points) -> np.ndarray:
        return centre + (np.asarray(points, float) * size) @ turn[:2].T

    def dab(point, radius, colour) -> None:
        canvas.hull(_discs(point, radius * size[1]), colour, _HEAD, False)

    in_plane = np.array([[turn[1, 1], turn[0, 1]], [-turn[0, 1], turn[1, 1]]])
    skull = centre + (1.04 * _CIRCLE * size[:2]) @ in_plane.T
    facing = turn[2, 2] > 0
    if person.long_hair:
        hair = _discs(centre, 0.98 * size[0], on_head([(0, 1.35, -0.35)])[0], 0.85 * size[0])
        canvas.hull(hair, colours["hair"], _HEAD)
        if facing:
            throat = _discs(at["neck"], 0.03 * scale, centre, 0.03 * scale)
            canvas.hull(throat, _shade(colours["skin"], 0.88), _HEAD, False)
    canvas.hull(skull, colours["hair"], _HEAD)
    if facing:
        rim = _FACE @ turn.T @ np.block([[in_plane, np.zeros((2, 1))], [0, 0, 1]])
        behind = rim[:, 2] < 0
        rim[behind] /= np.linalg.norm(rim[behind, :2], axis=1, keepdims=True)
        face = centre + (rim[:, :2] * size[:2]) @ in_plane.T
        canvas.hull(face, colours["skin"], _HEAD, False)
    for side in ("left", "right"):
        if _turned_to_view(person, f"{side}_ear"):
            canvas.hull(_discs(at[f"{side}_ear"], 0.2 * size[1]), colours["skin"], _HEAD)
    if facing:
        for side in ("left", "right"):
            if _turned_to_view(person, f"{side}_eye"):
                dab(at[f"{side}_eye"], 0.2, (250, 250, 250))
                dab(at[f"{side}_eye"], 0.11, (40, 25, 20))
        mouth = on_head([(-0.28, 0.55, 0.8), (0.28, 0.55, 0.8), (0, 0.66, 0.75)])
        canvas.hull(mouth, (60, 50, 150), _HEAD, False)
        dab(at["nose"], 0.13, _shade(colours["skin"], 0.7))


def _place(person: Person, rng: np.random.Generator) -> tuple[int, int, float, np.ndarray]:
    """Choose image width, height, scale and origin; one person in twenty is cut by the frame."""
    width, height = int(rng.integers(112, 153)), int(rng.integers(148, 201))
    points = np.array([point[:2] for point in person.points.values()])
    low, high = points.min(0) - 0.05, points.max(0) + 0.05
    fill = rng.uniform(1.05, 1.25) if rng.random() < 0.05 else rng.uniform(0.76, 0.95)
    scale = fill * float(np.min((width, height) / (high - low)))
    slack = (width, height) - scale * (high - low)
    return width, height, scale, rng.random(2) * slack - scale * low


def _texture(image: np.ndarray, mask: np.ndarray, colour, rng: np.random.Generator) -> None:
    """Lay stripes or checks of ``colour`` over the masked pixels."""
    angle, period = rng.uniform(0, np.pi), rng.uniform(3, 12)
    x, y = np.arange(image.shape[1]), np.arange(image.shape[0])[:, None]
    pattern = np.floor((x * math.cos(angle) + y * math.sin(angle)) / period).astype(int)
    if rng.random() < 0.5:
        pattern = pattern + np.floor((y * math.cos(angle) - x * math.sin(angle)) / period).astype(
            int
        )
    image[(pattern % 2 == 0) & (mask > 0)] = colour


def _random_shape(rng: np.random.Generator, centre: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Corners (N, 2) of a turned rectangle, ellipse or irregular convex blob."""
    kind, angle = rng.integers(3), rng.uniform(0, np.pi)
    radius = rng.uniform(0.75, 1.15, (16, 1)) if kind == 2 else 1.0
    shape = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) if kind == 0 else radius * _CIRCLE
    c, s = math.cos(angle), math.sin(angle)
    return centre + (shape * reach) @ np.array([[c, s], [-s, c]])


def _draw_background(
    canvas: Canvas, person: Person, scale: float, clutter: float, seed: int, index: int
) -> None:
    image, (height, width) = canvas.image, canvas.labels.shape
    rng = _rng(seed, index, _BACKGROUND)
    corners = np.array([_backdrop(rng, clutter) for _ in range(2)], np.float32)
    corners[1] = corners[0] + rng.uniform(0, 0.6) * (corners[1] - corners[0])
    ends = corners[[[0, 0], [1, 1]] if rng.random() < 0.5 else [[0, 1], [0, 1]]]
    blotches = rng.uniform(-1, 1, (7, 6, 3)).astype(np.float32) * 110 * clutter
    smooth = cv2.resize(ends, (width, height), interpolation=cv2.INTER_LINEAR)
    smooth += cv2.resize(blotches, (width, height), interpolation=cv2.INTER_LINEAR)
    image[:] = np.clip(smooth, 0, 255)

    rng = _rng(seed, index, _SHAPES)
    for _ in range(round(14 * clutter)):
        centre = rng.random(2) * (width, height)
        shape = _random_shape(rng, centre, scale * rng.uniform(0.04, 0.22, 2))
        colour, second = _backdrop(rng, clutter), _backdrop(rng, clutter)
        textured = rng.random() < 0.5
        canvas.labels[:] = 0
        canvas.hull(shape, colour, 1)
        if textured:
            _texture(image, canvas.labels, second, rng)

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
    cloth = person.colours[("shirt", "trousers")[rng.integers(2)]] if own else _cloth(rng)
    skin = person.colours["skin"] if own else _pick(rng, _SKIN)
    start = rng.random(2) * (width, height)
    thick = scale * rng.uniform(0.75, 1.25)
    angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-1.6, 1.6)
    ahead = np.array([math.cos(angle), math.sin(angle)])
    if rng.random() < 0.25:
        across = np.array([-ahead[1], ahead[0]]) * thick * rng.uniform(0.06, 0.1)
        end = start + 0.26 * scale * ahead
        corners = [start + across, start - across, end + 0.7 * across, end - 0.7 * across]
        canvas.hull(_discs(*(v for corner in corners for v in (corner, 0.045 * thick))), cloth, 1)
        return
    middle = start + scale * rng.uniform(0.13, 0.24) * ahead
    angle += bend
    end = middle + scale * rng.uniform(0.12, 0.22) * np.array([math.cos(angle), math.sin(angle)])
    lower = cloth if rng.random() < 0.5 else skin
    canvas.hull(_discs(end, 0.03 * thick), skin, 1)
    canvas.hull(_discs(middle, 0.04 * thick, end, 0.027 * thick), lower, 1)
    canvas.hull(_discs(start, 0.052 * thick, middle, 0.04 * thick), cloth, 1)
    canvas.hull(_discs(middle, 0.028 * thick), _shade(cloth, 0.72), 1, False)


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
    shape = _random_shape(rng, centre, scale * rng.uniform(0.07, 0.22, 2))
    colour = _cloth(rng)
    x, y = np.round(keypoints[labelled, :2]).astype(int).T
    while True:
        cover = Canvas.of(np.zeros_like(canvas.image))
        cover.hull(shape, colour, 1, outline=False)
        if 2 * np.count_nonzero(cover.labels[y, x]) <= len(labelled):
            break
        shape = centre + 0.8 * (shape - centre)
    canvas.hull(shape, colour, 1, outline=False)
    return (cover.labels > 0) & (canvas.image == colour).all(-1)


def _visible_parts(name: str) -> tuple[int, ...]:
    """The parts which may lie on top where a keypoint is seen."""
    side, _, joint = name.rpartition("_")
    if joint in ("nose", "eye", "ear"):
        return (_HEAD,)
    limb = "arm" if joint in ("shoulder", "elbow", "wrist") else "leg"
    own = _LIMBS[f"{side}_{limb}"]
    return (own, _TORSO) if joint in ("shoulder", "hip") else (own,)


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{name} must be an integer of 0 or more, got {value!r}")


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
    _check_count("seed", seed)
    _check_count("index", index)
    _check_fraction("clutter", clutter)
    _check_fraction("occlusion", occlusion)

    person = random_person(_rng(seed, index, _PERSON))
    width, height, scale, origin = _place(person, _rng(seed, index, _PLACE))
    canvas = Canvas.of(np.zeros((height, width, 3), np.uint8))
    _draw_background(canvas, person, scale, clutter, seed, index)
    draw_person(canvas, person, scale, origin)

    keypoints = np.zeros((17, 3))
    for number, name in enumerate(KEYPOINT_NAMES):
        x, y = np.round(person.points[name][:2] * scale + origin, 2)
        inside = 0 <= x <= width - 1 and 0 <= y <= height - 1
        if inside and (_visible_parts(name) != (_HEAD,) or _turned_to_view(person, name)):
            seen = canvas.labels[round(y), round(x)] in _visible_parts(name)
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
        _check_count(name, value)
    _check_fraction("clutter", clutter)
    _check_fraction("occlusion", occlusion)
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
        target = _annotation_file(out_dir, split)
        temporary = target.with_suffix(".json.tmp")
        temporary.write_text(json.dumps(content))
        os.replace(temporary, target)

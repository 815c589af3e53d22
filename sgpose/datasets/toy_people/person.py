# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Pose, proportions and clothes of a person, and how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .canvas import CIRCLE, HAIR, SKIN, Canvas, cloth_colour, discs, pick_colour, shade

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
_TORSO, HEAD, _LEFT_ARM, _RIGHT_ARM, _LEFT_LEG, _RIGHT_LEG = range(1, 7)
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

# Rim of the face on the head's unit sphere: 68 degrees around a direction a little below ahead.
_FACE = (
    np.cos(1.19) * np.array([0, 0.34, 0.94])
    + np.sin(1.19) * CIRCLE[:, :1] * np.array([1, 0, 0])
    + np.sin(1.19) * CIRCLE[:, 1:] * np.array([0, 0.94, -0.34])
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
    face = {"nose": (0.0, 0.12, 0.99)}
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
            "skin": pick_colour(rng, SKIN),
            "hair": cloth_colour(rng) if rng.random() < 0.15 else pick_colour(rng, HAIR),
            "shirt": cloth_colour(rng),
            "trim": cloth_colour(rng),
            "trousers": cloth_colour(rng),
            "shoes": cloth_colour(rng),
        },
        sleeve=int(rng.integers(3)),
        legwear=int(rng.choice(3, p=(0.3, 0.5, 0.2))),
        long_hair=bool(rng.random() < 0.35),
        stripes=int(rng.choice((0, 0, 0, 2, 3, 5))),
    )


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
    parts: list[tuple[float, Callable, tuple]] = [
        (0.0, _draw_torso, (size,)),
        (0.01, _draw_head, (scale,)),
    ]
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


def turned_to_view(person: Person, name: str) -> bool:
    """Whether a point of the face lies on the visible side of the head."""
    normal = person.points[name] - person.points["head"]
    return bool(normal[2] > (-0.6 if name.endswith("ear") else 0.12) * np.linalg.norm(normal))


def _draw_segment(canvas, person, at, size, side: str, limb: str, segment: int) -> None:
    colours, label = person.colours, _LIMBS[f"{side}_{limb}"]
    if limb == "arm":
        a, b, c = (at[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        if segment:
            canvas.hull(discs(at[f"{side}_hand"], 0.028 * size), colours["skin"], label)
        ends, radii = ((a, b), (b, c))[segment], ((0.044, 0.034), (0.034, 0.024))[segment]
        covered = ((0.0, 0.55, 1.0), (0.0, 0.0, 0.9))[segment][person.sleeve]
        cloth = colours["shirt"]
    else:
        a, b, c = (at[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        if segment:
            shoe = discs(c + (0, 0.01 * size), 0.03 * size, at[f"{side}_toe"], 0.026 * size)
            canvas.hull(shoe, colours["shoes"], label)
        ends, radii = ((a, b), (b, c))[segment], ((0.064, 0.046), (0.046, 0.03))[segment]
        covered = ((0.7, 1.0, 0.0), (0.0, 0.93, 0.0))[segment][person.legwear]
        cloth = colours["trousers"]

    (start, stop), (r0, r1) = ends, np.array(radii) * size
    if covered < 1:
        canvas.hull(discs(start, r0, stop, r1), colours["skin"], label)
    if covered > 0:
        end = start + covered * (stop - start)
        radius = r0 + covered * (r1 - r0) + (0.004 * size if covered < 1 else 0)
        canvas.hull(discs(start, r0, end, radius), cloth, label)
    patch, radius = (start, r0) if segment else (stop, r1)
    colour = cloth if covered == 1 or (segment and covered > 0) else colours["skin"]
    canvas.hull(discs(patch, 0.7 * radius), shade(colour, 0.72), label, False)


def _draw_torso(canvas, person, at, size) -> None:
    colours = person.colours
    left, right = at["left_shoulder"], at["right_shoulder"]
    left_hip, right_hip = at["left_hip"], at["right_hip"]
    pelvis = [left_hip, 0.066 * size, right_hip, 0.066 * size]
    if person.legwear == 2:
        for side in ("left", "right"):
            hem = 0.45 * at[f"{side}_hip"] + 0.55 * at[f"{side}_knee"]
            pelvis += [hem, 0.068 * size]
    canvas.hull(discs(*pelvis), colours["trousers"], _TORSO)
    canvas.hull(
        discs(at["neck"], 0.036 * size, 0.6 * at["neck"] + 0.4 * at["head"], 0.034 * size),
        shade(colours["skin"], 0.88),
        _TORSO,
    )
    belt = 0.18
    hem_l, hem_r = left_hip + belt * (left - left_hip), right_hip + belt * (right - right_hip)
    canvas.hull(
        discs(left, 0.042 * size, right, 0.042 * size, hem_l, 0.056 * size, hem_r, 0.056 * size),
        colours["shirt"],
        _TORSO,
    )
    for number in range(person.stripes):
        t = 0.12 + 0.76 * (number + 0.5) / person.stripes
        a, b = left + t * (hem_l - left), right + t * (hem_r - right)
        canvas.hull(discs(a, 0.009 * size, b, 0.009 * size), colours["trim"], _TORSO, False)

    ahead = person.turn[:2, 2] * 0.05 * size
    chest = at["neck"] + ahead
    belly = (hem_l + hem_r) / 2 + ahead
    if person.turn[2, 2] > 0:
        across = (left - right) * 0.16
        collar = np.stack([at["neck"] + across, at["neck"] - across, chest + 0.3 * (belly - chest)])
        canvas.hull(collar, colours["skin"], _TORSO)
        for t in (0.45, 0.65, 0.85):
            button = chest + t * (belly - chest)
            canvas.hull(discs(button, 0.011 * size), colours["trim"], _TORSO)


def _draw_head(canvas, person, at, scale) -> None:
    colours, turn, size = person.colours, person.head_turn, person.head_size * scale
    centre = at["head"]

    def on_head(points) -> np.ndarray:
        return centre + (np.asarray(points, float) * size) @ turn[:2].T

    def dab(point, radius, colour) -> None:
        canvas.hull(discs(point, radius * size[1]), colour, HEAD, False)

    in_plane = np.array([[turn[1, 1], turn[0, 1]], [-turn[0, 1], turn[1, 1]]])
    skull = centre + (1.04 * CIRCLE * size[:2]) @ in_plane.T
    facing = turn[2, 2] > 0
    if person.long_hair:
        hair = discs(centre, 0.98 * size[0], on_head([(0, 1.35, -0.35)])[0], 0.85 * size[0])
        canvas.hull(hair, colours["hair"], HEAD)
        if facing:
            throat = discs(at["neck"], 0.03 * scale, centre, 0.03 * scale)
            canvas.hull(throat, shade(colours["skin"], 0.88), HEAD, False)
    canvas.hull(skull, colours["hair"], HEAD)
    if facing:
        rim = _FACE @ turn.T @ np.block([[in_plane, np.zeros((2, 1))], [0, 0, 1]])
        behind = rim[:, 2] < 0
        rim[behind] /= np.linalg.norm(rim[behind, :2], axis=1, keepdims=True)
        face = centre + (rim[:, :2] * size[:2]) @ in_plane.T
        canvas.hull(face, colours["skin"], HEAD, False)
    for side in ("left", "right"):
        if turned_to_view(person, f"{side}_ear"):
            canvas.hull(discs(at[f"{side}_ear"], 0.2 * size[1]), colours["skin"], HEAD)
    if facing:
        for side in ("left", "right"):
            if turned_to_view(person, f"{side}_eye"):
                dab(at[f"{side}_eye"], 0.2, (250, 250, 250))
                dab(at[f"{side}_eye"], 0.11, (40, 25, 20))
        mouth = on_head([(-0.28, 0.55, 0.8), (0.28, 0.55, 0.8), (0, 0.66, 0.75)])
        canvas.hull(mouth, (60, 50, 150), HEAD, False)
        dab(at["nose"], 0.13, shade(colours["skin"], 0.7))


def visible_parts(name: str) -> tuple[int, ...]:
    """The parts which may lie on top where a keypoint is seen."""
    side, _, joint = name.rpartition("_")
    if joint in ("nose", "eye", "ear"):
        return (HEAD,)
    limb = "arm" if joint in ("shoulder", "elbow", "wrist") else "leg"
    own = _LIMBS[f"{side}_{limb}"]
    return (own, _TORSO) if joint in ("shoulder", "hip") else (own,)

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What everything is drawn with: colours, shapes and the canvas."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import cv2
import numpy as np

# Hue, saturation, value.
SKIN = (
    (0.06, 0.25, 0.98),
    (0.07, 0.38, 0.9),
    (0.07, 0.5, 0.75),
    (0.06, 0.55, 0.55),
    (0.05, 0.55, 0.4),
)
HAIR = (
    (0.08, 0.6, 0.25),
    (0.07, 0.7, 0.42),
    (0.12, 0.6, 0.85),
    (0.04, 0.8, 0.6),
    (0.0, 0.0, 0.12),
    (0.1, 0.05, 0.7),
)
CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 16, endpoint=False)) for f in (np.cos, np.sin)], 1)


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
            cv2.polylines(self.image, [polygon], True, shade(colour, 0.55), 1, cv2.LINE_AA, 4)
        cv2.fillConvexPoly(self.labels, polygon, (label,), cv2.LINE_8, 4)


def _bgr(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(saturation, 1.0), min(value, 1.0))
    return round(255 * blue), round(255 * green), round(255 * red)


def shade(colour, factor: float) -> tuple[int, int, int]:
    return tuple(min(255, round(factor * c)) for c in colour)


def pick_colour(rng: np.random.Generator, palette) -> tuple[int, int, int]:
    hue, saturation, value = palette[rng.integers(len(palette))]
    jitter = rng.uniform(-1, 1, 3)
    return _bgr(
        hue + 0.01 * jitter[0],
        saturation * (1 + 0.1 * jitter[1]),
        value * (1 + 0.06 * jitter[2]),
    )


def cloth_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    return _bgr(rng.random(), rng.uniform(0.4, 0.95), rng.uniform(0.4, 1.0))


def backdrop_colour(rng: np.random.Generator, clutter: float) -> tuple[int, int, int]:
    """A colour that is pale beside clothes without clutter and as strong as they with it."""
    return _bgr(rng.random(), (0.2 + 0.8 * clutter) * rng.random(), rng.uniform(0.3, 1.0))


def discs(*centres_and_radii) -> np.ndarray:
    """Rim points of discs given as centre, radius, centre, radius, ..."""
    pairs = zip(centres_and_radii[::2], centres_and_radii[1::2])
    return np.concatenate([centre + radius * CIRCLE for centre, radius in pairs])


def texture(image: np.ndarray, mask: np.ndarray, colour, rng: np.random.Generator) -> None:
    """Lay stripes or checks of ``colour`` over the masked pixels."""
    angle, period = rng.uniform(0, np.pi), rng.uniform(3, 12)
    x, y = np.arange(image.shape[1]), np.arange(image.shape[0])[:, None]
    pattern = np.floor((x * math.cos(angle) + y * math.sin(angle)) / period).astype(int)
    if rng.random() < 0.5:
        pattern = pattern + np.floor((y * math.cos(angle) - x * math.sin(angle)) / period).astype(
            int
        )
    image[(pattern % 2 == 0) & (mask > 0)] = colour


def random_shape(rng: np.random.Generator, centre: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Corners (N, 2) of a turned rectangle, ellipse or irregular convex blob."""
    kind, angle = rng.integers(3), rng.uniform(0, np.pi)
    radius = rng.uniform(0.75, 1.15, (16, 1)) if kind == 2 else 1.0
    shape = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) if kind == 0 else radius * CIRCLE
    c, s = math.cos(angle), math.sin(angle)
    return centre + (shape * reach) @ np.array([[c, s], [-s, c]])

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Toy people: a seeded generator of drawn persons with COCO-17 keypoints.

A person is a 3-D skeleton in units of its own height, turned to the view and drawn as outlined
capsules from back to front. Left and right differ by the face and the clothes' front alone, never
by colour, so a mirrored picture with swapped names is again a valid sample.

View frame: x right, y down, z towards the viewer. Pixel centres lie at integer coordinates.
Images are BGR uint8 (H, W, 3).
"""

from .coco import write_toy_people
from .person import KEYPOINT_NAMES
from .sample import toy_sample

__all__ = ["KEYPOINT_NAMES", "toy_sample", "write_toy_people"]

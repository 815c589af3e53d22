# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import DATASETS, TRANSFORMS

from sgpose.codecs.gaussian_heatmaps import VISIBILITY_CUT

#: Half the width of a pasted limb, as a part of the longer side of its person's box.
LIMB_RADIUS = 0.07
#: A box is enlarged by this factor to become MMPose's top-down crop.
CROP_PADDING = 1.25


def paste_person(
    image: np.ndarray, person: dict, centre: tuple[float, float], length: float, flip: bool
) -> np.ndarray:
    """Paste a person, cut out along the limbs, into an image.

    Args:
        image: (H, W, 3) uint8.
        person: An item of an MMPose dataset: ``img``, ``keypoints`` (1, K, 2),
            ``keypoints_visible`` (1, K), ``bbox`` (1, 4) as corners, and ``skeleton_links``.
        centre: Where the centre of the person's box goes, (x, y) in pixels.
        length: The longer side of the box after pasting, in pixels.
        flip: Mirror the person.

    Returns:
        (H, W, 3) uint8, a new image.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = person["bbox"][0]
    factor = length / max(right - left, bottom - top)
    linear = np.diag([-factor if flip else factor, factor])
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    affine = np.column_stack([linear, np.asarray(centre) - linear @ middle])
    limbs = np.zeros((height, width), dtype=np.float32)
    ends = np.rint(16 * (person["keypoints"][0] @ linear.T + affine[:, 2])).astype(int)
    seen = person["keypoints_visible"][0] >= VISIBILITY_CUT
    thickness = max(1, round(2 * LIMB_RADIUS * length))
    for a, b in person["skeleton_links"]:
        if seen[a] and seen[b]:
            cv2.line(limbs, ends[a].tolist(), ends[b].tolist(), 1.0, thickness, shift=4)
    alpha = cv2.GaussianBlur(limbs, (3, 3), 0)[..., None]
    pixels = cv2.warpAffine(person["img"], affine, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return (image * (1 - alpha) + pixels * alpha).round().astype(np.uint8)


@TRANSFORMS.register_module()
class PastePeople(BaseTransform):
    """Crowd a top-down crop: paste other people of a dataset beside and partly over the person.

    It belongs behind ``TopdownAffine``. The annotations stay as they are, so that the network has
    to tell whose joints are asked for.

    Required Keys:

        - img, the crop
        - img_path
        - id (with a seed)

    Modified Keys:

        - img

    Args:
        source (dict): Config of the dataset whose people are pasted, without a pipeline. People
            of the same image are left out.
        num_people (int): How many are pasted, >= 0. Defaults to 1.
        distance (tuple[float, float]): Range of the horizontal distance from the centre of the
            crop, to either side, in widths of the crop. Defaults to (0.3, 0.6).
        size (tuple[float, float]): Range of the longer side of their boxes, as part of that of a
            person who fills the crop. Defaults to (0.7, 1.0).
        seed (int, optional): Paste the same people each time, as validation needs it: the choice
            then depends on the seed and the sample's ``id`` alone. Defaults to None, which draws
            from numpy's global random state.

    Raises:
        ValueError: If ``num_people`` is negative or a range is not ascending.
    """

    def __init__(
        self,
        source: dict,
        num_people: int = 1,
        distance: tuple[float, float] = (0.3, 0.6),
        size: tuple[float, float] = (0.7, 1.0),
        seed: int | None = None,
    ) -> None:
        if num_people < 0:
            raise ValueError(f"num_people must not be negative, got {num_people}")
        for name, (low, high) in dict(distance=distance, size=size).items():
            if not 0 <= low <= high:
                raise ValueError(f"{name} must be a range (low, high), got {(low, high)}")
        self.source = DATASETS.build(dict(source, pipeline=[dict(type="LoadImageOnce")]))
        self.num_people = num_people
        self.distance = distance
        self.size = size
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Paste people into ``results['img']``."""
        if self.seed is None:
            rng = np.random.default_rng(np.random.randint(2**31))
        else:
            rng = np.random.default_rng([self.seed, results["id"]])
        height, width = results["img"].shape[:2]
        for _ in range(self.num_people):
            person = self._draw(rng, results["img_path"])
            side = rng.choice([-1, 1])
            x = width * (0.5 + side * rng.uniform(*self.distance))
            y = height * rng.uniform(0.4, 0.6)
            length = height / CROP_PADDING * rng.uniform(*self.size)
            results["img"] = paste_person(
                results["img"], person, (x, y), length, bool(rng.integers(2))
            )
        return results

    def _draw(self, rng: np.random.Generator, but_not: str) -> dict:
        """Draw a person of another image."""
        start = rng.integers(len(self.source))
        for index in (*range(start, len(self.source)), *range(start)):
            person = self.source[index]
            if person["img_path"] != but_not:
                return person
        raise ValueError(f"the source of PastePeople holds no image but {but_not}")

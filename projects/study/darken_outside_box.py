# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.datasets.transforms import TopdownAffine
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DarkenOutsideBox(BaseTransform):
    """Darken a top-down crop outside the person's box. It belongs behind ``TopdownAffine``.

    A crop is larger than the box and has another shape, so that it shows more than the box, other
    people among it, and no longer tells whom the box was drawn around. The darkness does, to any
    network and at no cost.

    Boxes of annotations are more exact than a detector's. In training ``jitter`` keeps the network
    from relying on their edges.

    Required Keys:

        - img, the crop
        - bbox, bbox_center, bbox_scale, bbox_rotation (optional), as TopdownAffine left them
        - ori_shape
        - input_size
        - id (with a seed)

    Modified Keys:

        - img

    Args:
        outside (float): Factor outside the box, in [0, 1]. Defaults to 0.3.
        jitter (float): Standard deviation by which each side of the darkened box is moved, as a
            part of the box's width or height, >= 0. The crop itself stays. Defaults to 0.
        seed (int, optional): Move the sides the same way each time: it then depends on the seed
            and the sample's ``id`` alone. Defaults to None, which draws from numpy's global random
            state.
        use_udp (bool): As ``TopdownAffine`` has it. Defaults to False.

    Raises:
        ValueError: If ``outside`` or ``jitter`` is not in its range.
    """

    def __init__(
        self,
        outside: float = 0.3,
        jitter: float = 0.0,
        seed: int | None = None,
        use_udp: bool = False,
    ) -> None:
        if not 0 <= outside <= 1:
            raise ValueError(f"outside must be a factor in [0, 1], got {outside}")
        if not jitter >= 0:
            raise ValueError(f"jitter must not be negative, got {jitter}")
        self.outside = outside
        self.jitter = jitter
        self.seed = seed
        self.use_udp = use_udp

    def transform(self, results: dict) -> dict:
        """Darken ``results['img']`` outside ``results['bbox'][0]``."""
        box = self._moved(results["bbox"][0], results.get("id"))
        crop_again = TopdownAffine(results["input_size"], self.use_udp)
        names = ("bbox_center", "bbox_scale", "bbox_rotation")
        placed = {name: results[name] for name in names if name in results}
        inside = crop_again.transform(dict(placed, img=box_mask(box, results["ori_shape"])))
        results["img"] = darken(results["img"], inside["img"], self.outside)
        return results

    def _moved(self, box: np.ndarray, sample: int | None) -> np.ndarray:
        if not self.jitter:
            return box
        seeds = np.random.randint(2**31) if self.seed is None else [self.seed, sample]
        size = np.tile(box[2:] - box[:2], 2)
        return box + np.random.default_rng(seeds).normal(0, self.jitter, 4) * size


def box_mask(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw a box.

    Args:
        box: (4,) left, top, right, bottom in pixels; it may reach beyond the image.
        size: Height H and width W of the image.

    Returns:
        (H, W) uint8: 255 for pixels whose centre lies in the box, else 0.
    """
    mask = np.zeros(size, np.uint8)
    left, top, right, bottom = np.ceil(np.clip(box, 0, [*size[::-1], *size[::-1]])).astype(int)
    mask[top:bottom, left:right] = 255
    return mask


def darken(image: np.ndarray, inside: np.ndarray, outside: float) -> np.ndarray:
    """Darken an image outside a mask.

    Args:
        image: (H, W, 3) uint8.
        inside: (H, W) uint8, 255 where the image stays as it is.
        outside: Factor where the mask is 0, in [0, 1].

    Returns:
        (H, W, 3) uint8, a new image.
    """
    factors = outside + (1 - outside) / 255 * inside.astype(np.float32)
    return np.rint(image * factors[..., None]).astype(np.uint8)

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Copy COCO-style annotations with boxes moved at random, as a detector's would be.

python -m projects.study.moved_boxes data/lspet/annotations/lspet_val.json moved.json --part 0.1
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np


def moved(boxes: np.ndarray, part: float, seed: int = 0) -> np.ndarray:
    """Move each side of boxes by a normal deviate.

    Args:
        boxes: (N, 4), left, top, width and height.
        part: Standard deviation as a part of the box's width or height.
        seed: Of the deviates.

    Returns:
        (N, 4), left, top, width and height.
    """
    sides = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    deviates = np.random.default_rng(seed).normal(0, part, sides.shape)
    sides = sides + deviates * np.tile(boxes[:, 2:], 2)
    return np.concatenate([sides[:, :2], sides[:, 2:] - sides[:, :2]], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", type=float, required=True)
    args = parser.parse_args()
    content = json.loads(args.annotations.read_text(encoding="utf-8"))
    boxes = np.array([a["bbox"] for a in content["annotations"]], float)
    for annotation, box in zip(content["annotations"], moved(boxes, args.part)):
        annotation["bbox"] = box.tolist()
    args.out.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()

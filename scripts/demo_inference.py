# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Draw fresh toy people and let MMPose's inferencer find their poses."""

import sys
from pathlib import Path

import cv2
from mmpose.apis import MMPoseInferencer

import sgpose  # noqa: F401
from sgpose.datasets import toy_sample

config, checkpoint, out = sys.argv[1], sys.argv[2], Path(sys.argv[3]) / "pictures"
(out / "images").mkdir(parents=True, exist_ok=True)
for index in range(6):
    image, _ = toy_sample(seed=2024, index=index)
    # the visualizer's lines are sized for larger pictures
    image = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(out / "images" / f"{index}.png"), image)
inferencer = MMPoseInferencer(
    pose2d=config, pose2d_weights=checkpoint, det_model="whole_image", device="cpu"
)
for _ in inferencer(str(out / "images"), out_dir=str(out), draw_heatmap=True):
    pass

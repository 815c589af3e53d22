# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import cv2
import numpy as np
from mmpose.registry import TRANSFORMS


def test_an_image_is_read_once_and_may_be_written_into(tmp_path):
    path = str(tmp_path / "a.png")
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    cv2.imwrite(path, pixels)
    load = TRANSFORMS.build(dict(type="LoadImageOnce"))
    first = load(dict(img_path=path))
    # it writes in place
    TRANSFORMS.build(dict(type="mmdet.YOLOXHSVRandomAug"))(dict(first))
    load(dict(img_path=path))["img"][:] = 0
    (tmp_path / "a.png").unlink()
    second = load(dict(img_path=path))
    np.testing.assert_array_equal(second["img"], pixels)
    assert second["img_shape"] == second["ori_shape"] == (5, 7)
    frame = np.zeros((2, 3, 3), dtype=np.uint8)
    assert load(dict(img_path=path, img=frame))["img"] is frame, "as MMPose's inferencer gives it"
    assert load(dict(img=frame))["img_shape"] == (2, 3)

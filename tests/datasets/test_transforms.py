# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest
from mmpose.registry import TRANSFORMS


def test_an_image_is_read_once_and_cannot_be_written_into(tmp_path):
    path = str(tmp_path / "a.png")
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    cv2.imwrite(path, pixels)
    load = TRANSFORMS.build(dict(type="LoadImageOnce"))
    first = load(dict(img_path=path))
    (tmp_path / "a.png").unlink()
    second = load(dict(img_path=path))
    for results in (first, second):
        np.testing.assert_array_equal(results["img"], pixels)
        assert results["img_shape"] == results["ori_shape"] == (5, 7)
    with pytest.raises(ValueError, match="read-only"):
        second["img"][0] = 0
    frame = np.zeros((2, 3, 3), dtype=np.uint8)
    assert load(dict(img_path=path, img=frame))["img"] is frame, "as MMPose's inferencer gives it"
    assert load(dict(img=frame))["img_shape"] == (2, 3)

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np

from projects.study.moved_boxes import moved


def test_sides_move_by_a_part_of_the_box():
    boxes = np.tile([10.0, 20.0, 100.0, 400.0], (20000, 1))
    found = moved(boxes, 0.1)
    sides = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
    np.testing.assert_allclose(sides.mean(axis=0), [10, 20, 110, 420], atol=1.5)
    np.testing.assert_allclose(sides.std(axis=0), [10, 40, 10, 40], rtol=0.03)
    np.testing.assert_array_equal(found, moved(boxes, 0.1))
    np.testing.assert_array_equal(moved(boxes, 0.0), boxes)

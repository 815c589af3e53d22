# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="folding for deployment is measured, too")

from sgpose.benchmark import SECTIONS  # noqa: E402
from sgpose.benchmark.report import TARGETS  # noqa: E402
from sgpose.benchmark.sections import (  # noqa: E402
    GivenBoxes,
    Settings,
    in_process,
    process_peak,
)
from sgpose.benchmark.subjects import (  # noqa: E402
    build_model,
    picture,
    read_config,
    training_batch,
)

CONFIGS = Path(__file__).parents[2] / "configs"


def test_each_target_names_a_case_that_exists():
    cases = {
        (case.section, case.name)
        for section in SECTIONS.values()
        for case in section(Settings(CONFIGS, threads=1))
    }
    assert {(target.section, target.case) for target in TARGETS} <= cases
    assert {section for section, _ in cases} == set(SECTIONS)


def test_the_twins_share_their_weights_and_the_batch():
    guided, plain = (read_config(CONFIGS, "W16 128x96", guided) for guided in (True, False))
    theirs, ours = build_model(plain).state_dict(), build_model(guided).state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    assert any("guides" in name for name in set(ours) - set(theirs))
    batch = training_batch(guided, 2)
    assert batch["inputs"][0].shape == (3, 128, 96)
    assert batch["data_samples"][1].gt_fields.segmentation.shape == (1, 32, 24)


def test_boxes_lie_on_people_of_the_picture():
    image, boxes = picture(0, 6)
    assert image.shape == (480, 640, 3) and boxes.shape == (6, 4)
    assert (boxes[:, 2:] > boxes[:, :2]).all() and not np.array_equal(boxes[0], boxes[4])
    for x1, y1, x2, y2 in boxes[:4].astype(int):
        assert image[y1:y2, x1:x2].std() > 10


def test_the_stand_in_finds_the_boxes_it_was_given():
    boxes = np.arange(8, dtype=np.float32).reshape(2, 4)
    (found,) = GivenBoxes(boxes)(None)["predictions"]
    found = found.pred_instances.cpu().numpy()
    np.testing.assert_array_equal(found.bboxes, boxes)
    assert (found.scores == 1).all() and (found.labels == 0).all()


def test_peak_memory_is_that_of_the_new_process_alone():
    ballast = np.ones(40_000_000)  # 320 MB
    in_a_new_one = in_process(process_peak)
    assert process_peak() > in_a_new_one + ballast.nbytes / 2**20 / 2
    del ballast

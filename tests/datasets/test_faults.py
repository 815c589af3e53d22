# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Faulty images and annotations: an error names the file or the sample, or MMPose's way is kept."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from fabricate import coco_style
from mmengine.config import Config
from mmpose.registry import DATASETS, KEYPOINT_CODECS
from toy_runs import TOY

LSPET, COCO = ("LspetDataset", 14), ("CocoDataset", 17)
KINDS = pytest.mark.parametrize("kind", [LSPET, COCO], ids=lambda kind: kind[0])


def samples(root, kind=COCO):
    """Read both samples of a fabricated set through the toy config's training pipeline."""
    cfg = Config.fromfile(TOY).train_dataloader.dataset
    cfg.update(type=kind[0], data_root=str(root), ann_file="ann.json", data_prefix=dict(img=""))
    cfg.pipeline = [step for step in cfg.pipeline if step.type != "RandomBBoxTransform"]
    dataset = DATASETS.build(cfg)
    return [dataset[i] for i in range(len(dataset))]


def edit(root, change):
    path = root / "ann.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def set_first(name, index, value):
    return lambda content: content["annotations"][0][name].__setitem__(index, value)


def cut(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def as_jpeg(root):
    cv2.imwrite(str(root / "0.jpg"), cv2.imread(str(root / "0.png")))
    edit(root, lambda content: content["images"][0].update(file_name="0.jpg"))
    return root / "0.jpg"


IMAGES = dict(
    half_a_png=lambda root: cut(root / "0.png", 0.5),
    most_of_a_png=lambda root: cut(root / "0.png", 0.95),
    half_a_jpeg=lambda root: cut(as_jpeg(root), 0.5),
    most_of_a_jpeg=lambda root: cut(as_jpeg(root), 0.95),
    only_a_header=lambda root: cut(root / "0.png", 0.0005),
    nothing=lambda root: cut(root / "0.png", 0),
    text=lambda root: (root / "0.png").write_text("no image"),
    missing=lambda root: (root / "0.png").unlink(),
)


@pytest.mark.parametrize("fault", IMAGES)
def test_an_image_that_cannot_be_read_is_named(fault, tmp_path):
    coco_style(tmp_path, 17)
    IMAGES[fault](tmp_path)
    with pytest.raises(Exception, match=r"loading `.*/0\.(png|jpg)`"):
        samples(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        set_first("keypoints", 0, math.nan),
        set_first("keypoints", 0, None),
        set_first("keypoints", 1, math.inf),
        set_first("keypoints", 2, math.nan),
        set_first("bbox", 0, math.nan),
    ],
    ids=["NaN", "null", "infinity", "visibility", "box"],
)
def test_numbers_that_are_none_are_refused(change, tmp_path):
    for kind in (LSPET, COCO):
        coco_style(tmp_path, kind[1])
        edit(tmp_path, change)
        match = (
            r"ann\.json: (keypoints|bbox) of annotation 0 \(image 0\.png\) needs .* finite"
            if kind is LSPET
            else "keypoint 0 of person 0 in a sample lies at"
        )
        with pytest.raises(ValueError, match=match):
            samples(tmp_path, kind)


def test_an_unlabelled_keypoint_may_lie_anywhere(tmp_path):
    coco_style(tmp_path, 17)
    expected = samples(tmp_path)[0]["data_samples"].gt_fields
    edit(tmp_path, set_first("keypoints", 3 * 16, math.nan))
    found = samples(tmp_path)[0]["data_samples"].gt_fields
    assert found.heatmaps.isfinite().all()
    assert torch.equal(found.segmentation.any(), expected.segmentation.any())


def test_the_codecs_error_says_which_keypoint_and_how_many():
    inner = dict(type="MSRAHeatmap", input_size=(48, 64), heatmap_size=(12, 16), sigma=1)
    codec = KEYPOINT_CODECS.build(dict(type="SegmentationTarget", codec=inner, radius=2.0))
    keypoints = np.full((2, 3, 2), 9.0)
    keypoints[1, 2, 0] = keypoints[1, 1, 1] = np.nan
    with pytest.raises(ValueError, match=r"keypoint 1 of person 1.*\[9.0, nan\].* 2 of .* 6 "):
        codec.encode(keypoints)
    visible = np.array([[1, 1, 1], [1, 0, 1]], dtype=np.float32)
    with pytest.raises(ValueError, match=r"keypoint 2 of person 1.*visibility 1.0, 1 of .* 6 "):
        codec.encode(keypoints, visible)


@pytest.mark.parametrize("count", [3 * 10, 3 * 14 + 1])
def test_a_wrong_number_of_keypoints_is_refused(count, tmp_path):
    coco_style(tmp_path, 17)
    edit(
        tmp_path,
        lambda c: c["annotations"][1].update(keypoints=c["annotations"][1]["keypoints"][:count]),
    )
    match = r"annotation 0 \(image 0\.png\) needs 42 finite numbers, found 51"
    with pytest.raises(ValueError, match=match):
        samples(tmp_path, LSPET)  # all are COCO's
    edit(tmp_path, lambda content: content["annotations"].pop(0))
    with pytest.raises(ValueError, match=rf"annotation 1 .* needs 42 .*, found {count}"):
        samples(tmp_path, LSPET)


@pytest.mark.parametrize("visibility", [-1, 0.9, 3])
def test_a_visibility_that_says_nothing_is_refused(visibility, tmp_path):
    coco_style(tmp_path, 14)
    edit(tmp_path, set_first("keypoints", 3 * 4 + 2, visibility))
    match = rf"ann\.json: keypoint 4 of annotation 0 \(image 0\.png\) has visibility {visibility},"
    with pytest.raises(ValueError, match=match):
        samples(tmp_path, LSPET)


def test_keypoints_may_be_nested(tmp_path):
    coco_style(tmp_path, 14)
    read = dict(type="LspetDataset", data_root=str(tmp_path), ann_file="ann.json", pipeline=[])
    flat = DATASETS.build(read)

    def nest(content):
        for person in content["annotations"]:
            values = person["keypoints"]
            person["keypoints"] = [values[i : i + 3] for i in range(0, len(values), 3)]

    edit(tmp_path, nest)
    for a, b in zip(flat, DATASETS.build(read)):
        np.testing.assert_array_equal(a["keypoints"], b["keypoints"])
        np.testing.assert_array_equal(a["keypoints_visible"], b["keypoints_visible"])
    edit(tmp_path, lambda content: content["annotations"][1]["keypoints"][3].pop())
    with pytest.raises(ValueError, match=r"annotation 1 .* needs 42 .* found .*different lengths"):
        samples(tmp_path, LSPET)


def test_annotations_without_keypoints_are_left_out(tmp_path):
    for kind in (LSPET, COCO):
        coco_style(tmp_path, kind[1])
        edit(tmp_path, lambda content: content["annotations"][0].pop("keypoints"))
        (sample,) = samples(tmp_path, kind)
        assert sample["data_samples"].img_id == 1


@pytest.mark.parametrize("name", ["annotations", "images"])
def test_no_person_at_all(name, tmp_path):
    coco_style(tmp_path, 14)
    edit(tmp_path, lambda content: content[name].clear())
    with pytest.raises(ValueError, match=r"ann\.json holds no usable person"):
        samples(tmp_path, LSPET)


@KINDS
@pytest.mark.parametrize("keep", [0, 0.3])
def test_annotations_that_are_no_json(kind, keep, tmp_path):
    coco_style(tmp_path, kind[1])
    cut(tmp_path / "ann.json", keep)
    with pytest.raises(json.JSONDecodeError):
        samples(tmp_path, kind)


@KINDS
def test_the_categories_keypoints_are_not_needed(kind, tmp_path):
    coco_style(tmp_path, kind[1])
    edit(tmp_path, lambda content: content["categories"][0].pop("keypoints"))
    assert len(samples(tmp_path, kind)) == 2

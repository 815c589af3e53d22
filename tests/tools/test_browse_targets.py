# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fabricate import coco_style, tiny_run
from mmengine.config import Config
from mmengine.utils import get_installed_path

from sgpose.analysis.target_sheet import (
    LEFT,
    RIGHT,
    as_rgb,
    draw_sides,
    encoder_of,
    sides_of,
    target_dataset,
    target_items,
    target_maps,
    target_panels,
    target_sheet,
)
from sgpose.codecs import keypoint_discs
from sgpose.datasets import write_toy_people

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "sg_hrnet"
TOY = CONFIGS / "toy" / "td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
PLAIN = CONFIGS / "toy" / "td-hm_hrnet-w16_1xb16-25e_toy-128x96.py"
UDP = CONFIGS / "coco" / "td-hm_sghrnet-w32_udp-8xb64-210e_coco-256x192.py"
SIMCC = "simcc/coco/simcc_res50_8xb64-210e_coco-256x192.py"
RTMPOSE = "rtmpose/coco/rtmpose-s_8xb256-420e_coco-256x192.py"


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("people")
    write_toy_people(root, num_train=6, num_val=2)
    return root


@pytest.fixture
def toy(people) -> Config:
    cfg = Config.fromfile(TOY)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(people)
    return cfg


def test_the_sheet_shows_the_codecs_mask(toy):
    encoder = toy.train_dataloader.dataset.pipeline[-2].encoder
    encoder.radius = 3.5
    sheet, places, items, _ = target_sheet(toy, "train", 4, seed=3, title="toy")
    assert places.shape == (2, 9, 4) and len(items) == 4  # three samples, and the fourth below
    for number, item in enumerate(items):
        row, column = divmod(number, 3)
        instances = item["data_samples"].gt_instances
        points = instances.transformed_keypoints[0] / 4
        discs = keypoint_discs(points, instances.keypoints_visible[0], (24, 32), 3.5)
        mask = item["data_samples"].gt_fields.segmentation[0].numpy()
        np.testing.assert_array_equal(mask, discs)
        x0, y0, x1, y1 = places[row, 3 * column + 2]
        picture = sheet[y0:y1, x0:x1]
        assert picture.shape == (256, 192, 3)
        # 8 pixels of the picture per cell, whose centres are at 8 * (i, j)
        lit = picture[::8, ::8].min(axis=-1) >= 102
        np.testing.assert_array_equal(lit, mask > 0)


def test_a_seed_gives_the_same_samples_and_augmentation(toy):
    one, again, other = (target_sheet(toy, "train", 1, s, "t")[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert one.shape != other.shape or (one != other).any()


def test_validation_is_shown_with_the_training_codec(toy):
    toy.val_dataloader.dataset.bbox_file = "a detector's boxes, which have no keypoints.json"
    _, places, items, _ = target_sheet(toy, "val", 9, 0, "toy")
    assert len(items) == 2 and places.shape == (1, 6, 4)
    for item in items:
        assert "flip" not in item["data_samples"].metainfo
        assert item["data_samples"].gt_fields.segmentation.shape == (1, 32, 24)


def pipeline_of(cfg: Config, num_keypoints: int, root: Path) -> Config:
    """MMPose's config on fabricated images."""
    coco_style(root, num_keypoints)
    cfg.train_dataloader.dataset.update(
        data_root=str(root), ann_file="ann.json", data_prefix=dict(img="")
    )
    return cfg


@pytest.mark.parametrize(
    "config", [PLAIN, UDP, SIMCC, RTMPOSE], ids=["plain", "udp", "simcc", "rtm"]
)
def test_heatmaps_of_any_codec_peak_at_the_keypoints(config, tmp_path):
    if isinstance(config, Path):
        cfg = tiny_run(config, tmp_path)
    else:
        path = Path(get_installed_path("mmpose"), ".mim", "configs", "body_2d_keypoint", config)
        cfg = pipeline_of(Config.fromfile(path), 17, tmp_path)
    kept = ("LoadImage", "GetBBoxCenterScale", "TopdownAffine", "GenerateTarget", "PackPoseInputs")
    pipeline = [t for t in cfg.train_dataloader.dataset.pipeline if t.type in kept]
    cfg.train_dataloader.dataset.pipeline = pipeline
    dataset = target_dataset(cfg, "train")
    encoder = encoder_of(dataset)
    ((_, item),) = target_items(dataset, 1, seed=0)
    sample = item["data_samples"]
    maps = target_maps(sample, encoder)
    assert set(maps) == ({"heatmaps", "mask"} if config is UDP else {"heatmaps"})
    heatmaps = maps["heatmaps"]
    assert heatmaps.max() == 1
    visible = sample.gt_instances.keypoints_visible[0] > 0
    input_size = np.array(item["inputs"].shape[:0:-1], float)
    size = np.array(heatmaps.shape[::-1], float)
    scale = (input_size - 1) / (size - 1) if config is UDP else input_size / size
    points = sample.gt_instances.transformed_keypoints[0][visible]
    for x, y in points / scale:
        column, row = round(x), round(y)
        around = heatmaps[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        assert around.max() > 0.85
    panels = target_panels(item, encoder, dataset.metainfo)
    assert list(panels) == ["keypoints", *maps]
    assert len({panel.shape for panel in panels.values()}) == 1
    zoom = panels["keypoints"].shape[1] / input_size[0]
    colour = panels["heatmaps"].astype(int)
    for x, y in np.round(points * zoom).astype(int):
        red, _, blue = colour[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(axis=0)
        assert red > 130  # the paint is black far from the keypoints


@pytest.mark.parametrize("wrong", [False, True])
def test_a_wrong_flip_is_seen(toy, wrong):
    """A person who faces us has the left side at our right, in a mirrored picture too."""
    toy.train_dataloader.dataset.pipeline = [
        dict(t, prob=1.0) if t.type == "RandomFlip" else t
        for t in toy.train_dataloader.dataset.pipeline
        if t.type != "RandomBBoxTransform"
    ]
    dataset = target_dataset(toy, "train")
    if wrong:
        dataset._metainfo["flip_indices"] = list(range(17))
    names = [dataset.metainfo["keypoint_id2name"][k] for k in range(17)]
    left, right = names.index("left_shoulder"), names.index("right_shoulder")
    for index, item in target_items(dataset, 4, seed=0):
        assert item["data_samples"].metainfo["flip"]
        (truth,) = dataset.get_data_info(index)["keypoints"]
        instances = item["data_samples"].gt_instances
        (points,) = 2 * instances.transformed_keypoints
        black = np.zeros((256, 192, 3), np.uint8)
        drawn = draw_sides(black, points[None], instances.keypoints_visible, dataset.metainfo)
        blue, orange = (np.argwhere((drawn == colour).all(-1))[:, 1] for colour in (LEFT, RIGHT))
        shoulders = [abs(x - points[k, 0]).min() for k, x in ((left, blue), (right, orange))]
        assert max(shoulders) <= 4, "blue is left, orange is right"
        same = (points[left, 0] < points[right, 0]) == (truth[left, 0] < truth[right, 0])
        assert same != wrong


def test_from_the_command_line(toy, people, tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "targets.png"
    options = [f"{split}_dataloader.dataset.data_root={people}" for split in ("train", "val")]
    arguments = [str(TOY), "--num", "2", "--split", "val", "--out", str(out), "--seed", "5"]
    monkeypatch.setattr(sys, "argv", ["browse_targets.py", *arguments, "--cfg-options", *options])
    runpy.run_path(str(ROOT / "tools" / "browse_targets.py"), run_name="__main__")
    height, width = cv2.imread(str(out)).shape[:2]
    assert f"2 samples, {width} x {height} pixels" in capsys.readouterr().out


def test_nothing_to_look_at_is_refused(toy):
    toy.train_dataloader.dataset.pipeline = [
        t for t in toy.train_dataloader.dataset.pipeline if t.type != "GenerateTarget"
    ]
    with pytest.raises(ValueError, match="no GenerateTarget"):
        target_dataset(toy, "val")


AP10K = {0: "L_Eye", 1: "R_Eye", 2: "Nose", 3: "Root of tail", 4: "L_F_Paw", 5: "R_F_Paw"}


@pytest.mark.parametrize(
    ("names", "flip", "sides"),
    [
        (AP10K, [1, 0, 2, 3, 5, 4], "L R - - L R"),
        ({0: "leftEye", 1: "rightEye", 2: "LeftEar", 3: "mirror"}, [1, 0, 3, 2], "L R L R"),
        ({0: "kpt-0", 1: "kpt-1", 2: "collar", 3: "bright spot"}, [1, 0, 2, 3], "1 2 - -"),
        ({0: "left_hip", 1: "right_hip"}, [0, 1], "L R"),
    ],
    ids=["ap10k", "camel case", "numbers", "a wrong flip"],
)
def test_sides_of_keypoints(names, flip, sides):
    found = sides_of(dict(keypoint_id2name=names, flip_indices=flip))
    assert [side or "-" for side in found] == sides.split()


def test_pictures_that_are_not_8_bit_colour(toy):
    """Grey, float and 16-bit images of the same grey levels look the same."""
    sheets = []
    for options in (dict(), dict(to_float32=True), dict(color_type="grayscale")):
        cfg = Config(toy.to_dict())
        cfg.val_dataloader.dataset.pipeline[0].update(options)
        sheets.append(target_sheet(cfg, "val", 2, 0, "t")[0].astype(int))
    assert np.abs(sheets[0] - sheets[1]).max() <= 2
    assert sheets[2].shape == sheets[0].shape
    grey = np.arange(0, 256, 5, dtype=np.uint8).reshape(4, 13, 1)
    expected = np.repeat(grey, 3, axis=2)
    for image in (grey, grey.astype(np.uint16) * 257, grey / np.float32(255), expected):
        np.testing.assert_array_equal(as_rgb(image), expected)


def test_an_image_of_another_size_than_annotated_is_named(toy, tmp_path):
    assert target_sheet(toy, "val", 2, 0, "t")[3] == []
    people = Path(toy.val_dataloader.dataset.data_root)
    file = tmp_path / "val.json"
    content = json.loads((people / "annotations/person_keypoints_val.json").read_text())
    image = content["images"][1]
    image.update(width=image["height"], height=image["width"])
    file.write_text(json.dumps(content))
    toy.val_dataloader.dataset.ann_file = str(file)
    (note,) = target_sheet(toy, "val", 2, 0, "t")[3]
    width, height = image["height"], image["width"]
    assert f"000002.png is read as {width}x{height}, the annotations say {height}x{width}" in note

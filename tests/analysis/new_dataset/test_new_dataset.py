# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What `new_dataset` writes can be trained on, and says what was found."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fabricate import PEOPLE, people
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmpose.registry import DATASETS
from PIL import Image

from sgpose.analysis.new_dataset import new_dataset
from sgpose.analysis.new_dataset.copies import split_images
from sgpose.analysis.new_dataset.presets import (
    NETWORKS,
    Machine,
    choose,
    choose_batch,
    choose_epochs,
    choose_input,
    choose_radius,
    choose_threshold,
)
from sgpose.analysis.new_dataset.read import read

ROOT = Path(__file__).resolve().parents[3]
LAPTOP = Machine(gpu=0, cores=2)


def store(path: Path, content: dict) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def data(tmp_path):
    """Pictures, and paths of the JSON of a train and a val split."""
    images = tmp_path / "images"
    train = store(tmp_path / "train.json", people(images, 12, folder="a"))
    val = store(tmp_path / "val.json", people(images, 4, seed=1, first=13, folder="b"))
    return images, train, val


def make(data, tmp_path, **arguments):
    images, train, val = data
    arguments = {"train": [train], "val": [val], "machine": LAPTOP, **arguments}
    return new_dataset(images=images, name="mine", out=tmp_path / "mine", **arguments)


def test_what_is_written(data, tmp_path):
    before = [path.read_bytes() for path in data[1:]]
    result = make(data, tmp_path)
    assert sorted(p.name for p in result.out.iterdir()) == [
        "baseline.py",
        "guided.py",
        "metainfo.py",
        "report.md",
        "report.png",
    ]
    assert [path.read_bytes() for path in data[1:]] == before
    assert not any(result.findings.values())
    report = (result.out / "report.md").read_text()
    assert "Nothing wrong was found" in report and "12 of them to train on" in report
    width, height = Image.open(result.out / "report.png").size
    assert width > 800 and height > 800
    for name in ("baseline.py", "guided.py"):
        assert len((result.out / name).read_text().splitlines()) < 60


@pytest.mark.parametrize("network", NETWORKS)
def test_the_configs_differ_in_the_guide_alone(network, data, tmp_path):
    result = make(data, tmp_path, network=network, val_images=tmp_path / "images" / ".")
    for name in ("baseline.py", "guided.py"):
        assert len((result.out / name).read_text().splitlines()) < 60
    baseline, guided = (
        Config.fromfile(result.out / f"{name}.py").to_dict() for name in ("baseline", "guided")
    )
    assert guided["model"]["backbone"].pop("guide_op") == "none"
    assert guided["model"]["backbone"].pop("type") == "SGHRNet"
    assert baseline["model"]["backbone"].pop("type") == "HRNet"
    head = guided["model"]["head"]
    assert head.pop("segmentation_loss")["loss_weight"] == "auto"
    assert head.pop("loss_weighting")["type"] == "DynamicWeightAverage"
    assert (head.pop("type"), baseline["model"]["head"].pop("type")) == (
        "SGHeatmapHead",
        "HeatmapHead",
    )
    assert guided.pop("visualizer") and baseline.pop("visualizer", None) is not guided
    codec = guided.pop("train_pipeline")[-2]["encoder"]
    assert codec == dict(
        type="SegmentationTarget", codec=baseline["codec"], radius=result.preset.radius
    )
    del baseline["train_pipeline"]
    for cfg in (baseline, guided):
        cfg["train_dataloader"]["dataset"].pop("pipeline")
        cfg.pop("custom_imports", None)
    baseline.pop("train_data"), guided.pop("train_data")
    assert guided == baseline
    assert baseline["model"]["head"]["out_channels"] == 7
    assert "bbox_file" not in baseline["val_dataloader"]["dataset"]


@pytest.mark.parametrize("guide, op", [("supervision", "none"), ("gated", "multiply")])
def test_one_epoch_runs(guide, op, data, tmp_path):
    result = make(data, tmp_path, guide=guide, epochs=1)
    cfg = Config.fromfile(result.out / "guided.py")
    assert cfg.model.backbone.guide_op == op
    cfg.work_dir, cfg.log_level = str(tmp_path / "work"), "WARNING"
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    cfg.val_cfg, cfg.val_dataloader, cfg.val_evaluator = None, None, None
    cfg.default_hooks.checkpoint.save_best = None
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 12 // result.preset.batch_size
    assert (tmp_path / "work" / "epoch_1.pth").is_file()


@pytest.mark.slow
def test_perfect_predictions_get_full_marks(data, tmp_path):
    """The evaluators work with the metainfo, and save_best is among what they give."""
    for metric, best in (("pck", "PCK"), ("ap", "coco/AP")):
        result = make(data, tmp_path, metric=metric)
        cfg = Config.fromfile(result.out / "baseline.py")
        assert cfg.default_hooks.checkpoint.save_best == best
        dataset = DATASETS.build(cfg.val_dataloader.dataset)
        evaluator = Evaluator(cfg.val_evaluator)
        evaluator.dataset_meta = dataset.metainfo
        for item in dataset:
            sample = item["data_samples"]
            sample.pred_instances = sample.gt_instances.clone()
            sample.pred_instances.keypoint_scores = np.ones((1, 7), np.float32)
            evaluator.process([sample], None)
        assert evaluator.evaluate(4)[best] == pytest.approx(1)


@pytest.mark.slow
def test_annotated_areas_and_known_names_are_judged_by_ap(data, tmp_path):
    assert make(data, tmp_path).preset.save_best == "PCK"  # seven points that nobody knows
    coco = [
        f"{s}_{p}"
        for p in ["eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"]
        for s in ("left", "right")
    ]
    for path in data[1:]:
        content = json.loads(path.read_text())
        content["categories"][0]["keypoints"] = ["nose", *coco]
        for a in content["annotations"]:
            a["keypoints"] += a["keypoints"] + a["keypoints"][:9]
            a["num_keypoints"] = 17
        store(path, content)
    assert make(data, tmp_path).preset.save_best == "coco/AP"
    for path in data[1:]:
        content = json.loads(path.read_text())
        for a in content["annotations"]:
            del a["area"]
        store(path, content)
    assert make(data, tmp_path).preset.save_best == "PCK"


def test_a_share_is_split_off(data, tmp_path):
    result = make(data, tmp_path, val=(), val_share=0.25)
    read_back = {
        s: json.loads((result.out / "annotations" / f"{s}.json").read_text())
        for s in ("train", "val")
    }
    ids = {s: {i["id"] for i in content["images"]} for s, content in read_back.items()}
    assert len(ids["val"]) == 3 and len(ids["train"]) == 9
    assert ids["val"] | ids["train"] == set(range(1, 13)) and not ids["val"] & ids["train"]
    for split, content in read_back.items():
        assert {a["image_id"] for a in content["annotations"]} == ids[split]
    cfg = Config.fromfile(result.out / "baseline.py")
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 9
    assert len(DATASETS.build(cfg.val_dataloader.dataset)) == 3


def test_frames_of_a_video_and_equal_pictures_stay_together(tmp_path):
    content = people(tmp_path, 90)
    for i, image in enumerate(content["images"]):
        image["file_name"] = f"clip{chr(97 + i // 3)}_{i:03d}.png"
    table = read([store(tmp_path / "a.json", content)])
    val = split_images(table, 0.2, same=[[0, 89]])
    assert val.reshape(30, 3).sum(axis=1).tolist().count(0) + val.sum() / 3 == 30
    assert val[0] == val[89] and 0 < val.sum() <= 18


def test_fix_writes_what_is_right_and_keeps_the_rest(data, tmp_path):
    images, train, val = data
    content = json.loads(train.read_text())
    content["annotations"][0]["keypoints"][2] = -1
    del content["annotations"][1]["bbox"]
    content["annotations"][2]["image_id"] = 999
    content["annotations"][3]["attributes"] = dict(worn="hat")
    store(train, content)
    result = make(data, tmp_path, fix=True)
    mended = json.loads((result.out / "annotations" / "train.json").read_text())
    by_id = {a["id"]: a for a in mended["annotations"]}
    assert sorted(by_id) == [1, 2, *range(4, 13)]
    assert by_id[1]["keypoints"][:3] == [0, 0, 0] and by_id[1]["num_keypoints"] == 6
    x, y, w, h = by_id[2]["bbox"]
    points = np.reshape(content["annotations"][1]["keypoints"], (7, 3))[:, :2]
    assert (points > (x, y)).all() and (points < (x + w, y + h)).all()
    assert by_id[4] == content["annotations"][3]
    cfg = Config.fromfile(result.out / "guided.py")
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 11
    assert json.loads(train.read_text()) == content


def test_several_files_and_a_category_without_keypoints_are_read(data, tmp_path):
    """Roboflow names a category that holds nothing; two files count their ids from 1 each."""
    images, train, val = data
    for path in (train, val):
        content = json.loads(path.read_text())
        content["categories"].insert(0, dict(id=0, name="all", supercategory="none"))
        store(path, content)
    second = people(images, 3, seed=2, folder="c")
    result = make((images, train, val), tmp_path, train=[train, store(tmp_path / "c.json", second)])
    assert not any(result.findings.values())
    cfg = Config.fromfile(result.out / "baseline.py")
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 15
    paths = {Path(dataset.get_data_info(i)["img_path"]).parent.name for i in range(15)}
    assert paths == {"a", "c"}


def test_nested_keypoints_float_ids_and_flat_ones_are_one(data, tmp_path):
    content = json.loads(data[1].read_text())
    for image, a in zip(content["images"], content["annotations"]):
        a["keypoints"] = np.reshape(a["keypoints"], (7, 3)).tolist()
        image["id"] = a["image_id"] = float(a["image_id"])
    nested = read([store(tmp_path / "nested.json", content)])
    flat = read([data[1]])
    assert (nested.keypoints == flat.keypoints).all() and (nested.image == flat.image).all()


def test_a_known_metainfo_names_nameless_keypoints(data, tmp_path):
    for path in data[1:]:
        content = json.loads(path.read_text())
        del content["categories"][0]["keypoints"]
        for a in content["annotations"]:
            a["keypoints"] = a["keypoints"][:15]
            a["num_keypoints"] = 5
        store(path, content)
    info = tmp_path / "five.py"
    keypoint_info = {k: dict(name=n, swap="") for k, n in enumerate(PEOPLE[:5])}
    info.write_text(
        f"dataset_info = dict(dataset_name='five', keypoint_info={keypoint_info}, "
        "skeleton_info={}, joint_weights=[1.0] * 5, sigmas=[])"
    )
    result = make(data, tmp_path, metainfo=str(info))
    metainfo = DATASETS.build(
        Config.fromfile(result.out / "baseline.py").val_dataloader.dataset
    ).metainfo
    assert metainfo["keypoint_id2name"][4] == "right_hip" and len(metainfo["sigmas"]) == 5
    nameless = make(data, tmp_path)
    assert not nameless.preset.flip  # too few to see what mirrors what
    assert "RandomFlip" not in str(Config.fromfile(nameless.out / "baseline.py").train_pipeline)


def test_presets():
    assert [choose_input(a, 256) for a in (0.6, 1, 1.5)] == [(192, 256), (256, 256), (256, 192)]
    assert [choose_threshold(a) for a in (0.15, 0.08, 0.02)] == [0.2, 0.1, 0.05]
    assert choose_radius((48, 64), 0.2) == 5 and choose_radius((24, 32), 0.2) == 2.5
    assert choose_radius((64, 64), 0.04) == 2
    w32, pixels = NETWORKS["w32"], 192 * 256
    assert choose_batch(w32, pixels, 10000, Machine(80, 16)) == 64
    assert choose_batch(w32, pixels, 10000, Machine(6, 4)) < 64
    assert choose_batch(w32, pixels, 20, Machine(80, 16)) == 4
    assert choose_batch(w32, pixels, 1, LAPTOP) == 1
    assert choose_epochs(w32, 150000, 64) == 20 and choose_epochs(w32, 100, 4) == 210
    assert choose_epochs(NETWORKS["w16"], 3600, 32) == 60


def test_the_machine_and_the_shape_choose(data, tmp_path):
    table = read([data[1]])
    portrait = choose(table, True, LAPTOP)
    assert portrait.network == "w16" and portrait.input_size == (96, 128)
    wide = replace(table, boxes=table.boxes[:, [1, 0, 3, 2]])
    assert choose(wide, True, Machine(40, 8)).input_size == (256, 192)
    assert choose(table, True, Machine(40, 8)).network == "w32"
    own = choose(table, True, LAPTOP, network="w48", input_size=(288, 384), epochs=7, batch=3)
    assert (own.network, own.input_size, own.max_epochs, own.batch_size) == (
        "w48",
        (288, 384),
        7,
        3,
    )
    assert own.heatmap_size == (72, 96)


def test_the_tool_says_what_comes_next(data, tmp_path, monkeypatch, capsys):
    images, train, val = data
    monkeypatch.chdir(tmp_path)
    arguments = ["--train", train, "--val", val, "--images", images, "--name", "mine"]
    monkeypatch.setattr(sys, "argv", ["new_dataset.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "tools" / "new_dataset.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "An epoch will take about" in printed and "estimate" in printed
    for command in (
        "browse_targets mine/guided.py",
        "mim train sgpose mine/guided.py",
        "compare mine/baseline.py mine/guided.py",
    ):
        assert command in printed


def test_the_tool_refuses_in_one_line(data, tmp_path, monkeypatch):
    images, train, _ = data
    arguments = ["--train", train, "--images", tmp_path / "none", "--name", "mine"]
    monkeypatch.setattr(sys, "argv", ["new_dataset.py", *map(str, arguments)])
    with pytest.raises(
        SystemExit, match="new_dataset: the folder of the pictures, .*none, does not"
    ):
        runpy.run_path(str(ROOT / "tools" / "new_dataset.py"), run_name="__main__")

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Configs with one fault each: one message, before the first step, that says what to change."""

import json
import runpy
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from fabricate import people, tiny_run
from mmengine.config import Config
from mmengine.logging import MessageHub

from sgpose.analysis import check_config as module
from sgpose.analysis.check_config import check_config, missing_files, shortened
from sgpose.analysis.new_dataset import new_dataset
from sgpose.analysis.new_dataset.presets import Machine

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "configs" / "sg_hrnet").rglob("td-hm_*.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The configs that new_dataset writes for twelve people."""
    root = tmp_path_factory.mktemp("own")
    for name, content in (("train", people(root, 8)), ("val", people(root, 4, 1, first=9))):
        (root / f"{name}.json").write_text(json.dumps(content))
    new_dataset(
        [root / "train.json"], root, "own", root / "out", Machine(0, 1), val=[root / "val.json"]
    )
    return root / "out"


@pytest.fixture
def cfg(folder):
    return Config.fromfile(folder / "guided.py")


def test_a_sound_config_has_no_problem_and_is_left_alone(cfg, capsys):
    before, known = cfg.pretty_text, dict(MessageHub.get_current_instance().runtime_info)
    assert check_config(cfg) == []
    assert cfg.pretty_text == before
    assert MessageHub.get_current_instance().runtime_info == known
    assert capsys.readouterr().out == ""


def shipped_config(path, tmp_path):
    cfg = tiny_run(path, tmp_path)
    cfg.default_hooks.checkpoint.save_best = cfg.best_metric
    for stage in cfg.model.backbone.get("extra", {}).values():
        if "num_blocks" in stage:
            stage.update(num_modules=1, num_blocks=(1,) * stage["num_branches"])
    return cfg


def few_of_each():
    """One config of each data set as it is, the others as slow tests."""
    seen = set()
    for path in SHIPPED:
        new = path.parent.name not in seen
        seen.add(path.parent.name)
        yield pytest.param(path, id=path.stem, marks=[] if new else pytest.mark.slow)


@pytest.mark.parametrize("path", list(few_of_each()))
def test_shipped_configs_have_no_problem(path, tmp_path):
    assert check_config(shipped_config(path, tmp_path)) == []


def loader(cfg, split="train"):
    return cfg[f"{split}_dataloader"].dataset


def other_out_channels(cfg):
    cfg.model.head.out_channels = 17


def no_annotations(cfg):
    loader(cfg).ann_file = "own/none.json"


def no_pictures(cfg):
    loader(cfg, "val").data_prefix.img = "own/none/"


def coco_metainfo(cfg):
    loader(cfg).metainfo = None


def no_sigmas(cfg):
    info = Config.fromfile(loader(cfg).metainfo.from_file).dataset_info
    info.sigmas = []
    loader(cfg, "val").metainfo = info
    cfg.val_evaluator = dict(type="CocoMetric", ann_file=loader(cfg, "val").ann_file)
    cfg.default_hooks.checkpoint.save_best = "coco/AP"


def no_head_sizes(cfg):
    cfg.val_evaluator = dict(type="PCKAccuracy", norm_item="head")


def other_save_best(cfg):
    cfg.default_hooks.checkpoint.save_best = "coco/AP"


def other_monitor(cfg):
    cfg.custom_hooks = [dict(type="EarlyStoppingHook", monitor="PCKh")]


def other_decoder(cfg):
    cfg.model.head.decoder = dict(cfg.codec, heatmap_size=(32, 24))


def other_input(cfg):
    next(t for t in loader(cfg).pipeline if t.type == "TopdownAffine").input_size = (128, 128)


def other_channels(cfg):
    cfg.model.head.in_channels = 32


def no_box(cfg):
    path = Path(loader(cfg).ann_file)
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        del annotation["bbox"]
    loader(cfg).ann_file = str(path.with_name("boxless.json"))
    Path(loader(cfg).ann_file).write_text(json.dumps(content))


def no_checkpoint(cfg):
    cfg.load_from = "none.pth"


FAULTS = {
    other_out_channels: "model.head.out_channels=17, but the data set has 7 keypoints: write "
    "out_channels=7",
    no_annotations: "own/none.json  (train_dataloader.dataset.ann_file)",
    no_pictures: "own/none/  (val_dataloader.dataset.data_prefix.img)",
    coco_metainfo: "metainfo (coco) names 17 keypoints, the annotations in",
    no_sigmas: "a sigma for each of the 7 keypoints, the metainfo has 0. Write sigmas=[0.05] * 7",
    no_head_sizes: "val_evaluator cannot evaluate this data set: AssertionError",
    other_save_best: "default_hooks.checkpoint.save_best='coco/AP' is none of the metrics of "
    "val_evaluator: PCK, AUC, EPE",
    other_monitor: "custom_hooks.0.monitor='PCKh' is none of the metrics",
    other_decoder: "model.head.decoder has heatmap_size=(32, 24), the encoder of GenerateTarget "
    "(24, 32)",
    other_input: "the pipeline makes inputs of 128x128 (width x height), the codec's input_size is "
    "96x128",
    other_channels: "the first training step would fail: RuntimeError",
    no_box: "train_dataloader.dataset holds no sample",
    no_checkpoint: "load_from: there is no checkpoint none.pth. To start without it: "
    "--cfg-options load_from=None",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_a_fault_is_one_message(fault, cfg):
    fault(cfg)
    problems = check_config(cfg)
    assert len(problems) == 1
    assert FAULTS[fault] in problems[0]


def test_files_on_another_file_system_are_not_looked_for(cfg):
    no_annotations(cfg)
    cfg.backend_args = dict(backend="petrel")
    assert missing_files(cfg) == []


def test_no_network(cfg, monkeypatch, tmp_path):
    """The weights' own place in the config is named; a copy in the cache is enough."""

    def offline(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    url = "https://example.org/weights/w32.pth"
    cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=url)
    (problem,) = check_config(cfg)
    assert url in problem and "no route to host" in problem
    assert "--cfg-options model.backbone.init_cfg=None" in problem
    assert str(tmp_path / "checkpoints" / "w32.pth") in problem
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "w32.pth").touch()
    assert check_config(cfg) == []


def test_large_files_are_cut(cfg, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(module, "IMAGES", 3)
    short = shortened(loader(cfg), str(tmp_path))
    content = json.loads(Path(short.ann_file).read_text())
    assert len(content["images"]) == len(content["annotations"]) == 3
    assert check_config(cfg) == []
    other_save_best(cfg)
    assert len(check_config(cfg)) == 1


def train(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "tools" / "train.py"), run_name="__main__")


OPTIONS = [
    *("--cfg-options", "train_cfg.max_epochs=1", "train_cfg.val_interval=1", "log_level=ERROR"),
    *("train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False"),
    *("val_dataloader.num_workers=0", "val_dataloader.persistent_workers=False"),
]


def test_the_training_tool_stops_before_the_first_step(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    best = "default_hooks.checkpoint.save_best=AP"
    with pytest.raises(SystemExit, match="none of the metrics of val_evaluator: PCK, AUC, EPE"):
        train(monkeypatch, folder / "guided.py", *OPTIONS, best)
    assert list(tmp_path.iterdir()) == []


def test_no_check_starts_all_the_same(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    best = "default_hooks.checkpoint.save_best=AP"
    with pytest.raises(KeyError, match="AP"):
        train(monkeypatch, folder / "guided.py", "--no-check", *OPTIONS, best)


@pytest.mark.slow
def test_the_check_leaves_training_as_it_was(folder, tmp_path, monkeypatch):
    """The same weights come out with the check and without."""
    monkeypatch.chdir(tmp_path)
    states = []
    for name, more in (("with", []), ("without", ["--no-check"])):
        train(monkeypatch, folder / "guided.py", "--work-dir", name, *more, *OPTIONS)
        states.append(torch.load(tmp_path / name / "epoch_1.pth")["state_dict"])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

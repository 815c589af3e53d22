# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Tools on ``CombinedDataset``, ``RepeatDataset`` and ``KeypointConverter``."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.apis import inference_topdown, init_model
from mmpose.registry import DATASETS, MODELS

from sgpose.analysis.codec_ceiling import codec_ceiling
from sgpose.analysis.comparison.run import _evaluators
from sgpose.analysis.gallery import gallery
from sgpose.analysis.predictions import KeepPredictions, kept_predictions
from sgpose.analysis.target_sheet import target_sheet
from sgpose.datasets import write_toy_people
from sgpose.evaluation import PerKeypointPCK

ROOT = Path(__file__).parents[2]
PLAIN = ROOT / "configs/sg_hrnet/toy/td-hm_hrnet-w16_1xb16-25e_toy-128x96.py"
COCO = dict(from_file="configs/_base_/datasets/coco.py")
#: COCO's order, but the middle of the shoulders for both hips.
MAPPING = [((5, 6), i) if i in (11, 12) else (i, i) for i in range(17)]


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> list[Path]:
    roots = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    for seed, root in enumerate(roots):
        write_toy_people(root, num_train=2, num_val=3 + seed, seed=seed, occlusion=0)
    return roots


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    init_default_scope("mmpose")
    torch.manual_seed(1)
    model = MODELS.build(Config.fromfile(PLAIN).model)
    model.init_weights()
    file = tmp_path_factory.mktemp("checkpoint") / "plain.pth"
    torch.save(dict(state_dict=model.state_dict(), meta={}), file)
    return str(file)


def wrap(dataset: dict, people: list[Path], kind: str) -> dict:
    """Wrap a dataset of the toy config."""
    inner = [dict(dataset, data_root=str(root)) for root in people]
    if kind == "RepeatDataset":
        return dict(type=kind, dataset=inner[1], times=2)
    pipeline = inner[0].pop("pipeline")
    for part in inner:
        part["pipeline"] = []
    if kind == "converted":
        inner[0]["pipeline"] = [dict(type="KeypointConverter", num_keypoints=17, mapping=MAPPING)]
        inner[1]["pipeline"] = inner[0]["pipeline"]
    return dict(type="CombinedDataset", metainfo=COCO, datasets=inner, pipeline=pipeline)


KINDS = pytest.mark.parametrize("kind", ["RepeatDataset", "CombinedDataset", "converted"])


@pytest.fixture
def wrapped(people):
    def wrapped(kind: str) -> Config:
        cfg = Config.fromfile(PLAIN)
        content = cfg.to_dict()
        for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
            content[loader].update(batch_size=2, num_workers=0, persistent_workers=False)
            content[loader]["dataset"] = wrap(content[loader]["dataset"], people, kind)
        content["test_evaluator"] = dict(type="PCKAccuracy", thr=0.05)
        return Config(content)

    return wrapped


def image(people, kind: str, index: int) -> str:
    """The image of the n-th sample: three persons of the first set, then four of the second."""
    second, number = (True, index % 4) if kind == "RepeatDataset" else (index > 2, index % 3)
    if kind != "RepeatDataset" and second:
        number = index - 3
    return str(people[second] / "val" / f"{number + 1:06d}.png")


@KINDS
def test_predictions_are_those_of_the_samples(kind, wrapped, people, checkpoint, tmp_path):
    cfg = wrapped(kind)
    samples = kept_predictions(cfg, checkpoint, tmp_path, indices=[5, 1])
    model = init_model(str(PLAIN), checkpoint, device="cpu")
    for index, sample in zip((5, 1), samples):
        assert sample["img_path"] == image(people, kind, index)
        box = sample["gt_instances"]["bboxes"]
        (expected,) = inference_topdown(model, sample["img_path"], box)
        found = sample["pred_instances"]["keypoints"]
        np.testing.assert_allclose(found, expected.pred_instances.keypoints, atol=1e-3)


@KINDS
def test_a_gallery_after_a_crash(kind, wrapped, people, checkpoint, tmp_path, monkeypatch):
    process, count = KeepPredictions.process, [0]

    def crash(self, batch, samples):
        count[0] += 1
        if count[0] == 3:
            raise MemoryError
        process(self, batch, samples)

    models = [(wrapped(kind), checkpoint, "plain")]
    monkeypatch.setattr(KeepPredictions, "process", crash)
    with pytest.raises(MemoryError):
        gallery(models, tmp_path, 1, None, 64)
    groups = gallery(models, tmp_path, 1, None, 64)
    (sample,) = kept_predictions(models[0][0], checkpoint, tmp_path / "cache", groups["best"])
    assert sample["img_path"] == image(people, kind, groups["best"][0])
    assert (tmp_path / "gallery.png").is_file()


@KINDS
def test_the_codecs_ceiling(kind, wrapped):
    assert codec_ceiling(wrapped(kind))["PCK"] > 0.98


@KINDS
@pytest.mark.parametrize("split", ["train", "val"])
def test_targets_are_drawn(kind, split, wrapped):
    sheet, places, items, notes = target_sheet(wrapped(kind), split, 3, 0, "wrapped")
    assert len(items) == 3 and notes == []
    assert all("transformed_keypoints" in item["data_samples"].gt_instances for item in items)


def test_a_set_that_is_drawn_anew_each_time_is_refused(wrapped, checkpoint, tmp_path):
    cfg = wrapped("CombinedDataset")
    cfg.test_dataloader.dataset.sample_ratio_factor = [0.5, 1.0]
    with pytest.raises(ValueError, match="draws its samples anew each time"):
        kept_predictions(cfg, checkpoint, tmp_path, [0])
    assert not list(tmp_path.iterdir())


def test_compares_own_metric(wrapped, people):
    cfg = wrapped("converted")
    dataset = DATASETS.build(copy.deepcopy(cfg.test_dataloader.dataset))
    metric = PerKeypointPCK()
    metric.dataset_meta = dataset.metainfo
    truth = dataset[0]["data_samples"].gt_instances
    assert truth.keypoints_visible.shape == (1, 17, 2)
    sample = dict(pred_instances=dict(keypoints=truth.keypoints), gt_instances=truth.to_dict())
    metric.process(None, [sample])
    assert metric.evaluate(1)["pck/mean"] == 1

    assert [e["type"] for e in _evaluators(cfg)] == ["PCKAccuracy", "PerKeypointPCK"]
    cfg.test_dataloader.dataset.datasets[1].bbox_file = "boxes.json"
    assert [e["type"] for e in _evaluators(cfg)] == ["PCKAccuracy"]

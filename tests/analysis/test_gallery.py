# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import base64
import re
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.apis import inference_topdown, init_model
from mmpose.registry import MODELS

from sgpose.analysis import predictions
from sgpose.analysis.gallery import (
    Predicted,
    gallery,
    gallery_page,
    gallery_sheet,
    hardest_first,
    is_labelled,
    pick,
    sample_error,
    sample_oks,
    sample_pck,
    sample_pictures,
)
from sgpose.analysis.predictions import KeepPredictions, kept_predictions
from sgpose.datasets import write_toy_people
from sgpose.visualization.sheet import Cell

ROOT = Path(__file__).parents[2]
TOY = ROOT / "configs" / "sg_hrnet" / "toy"
GUIDED = TOY / "td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py"
PLAIN = TOY / "td-hm_hrnet-w16_1xb16-25e_toy-128x96.py"
PCK = dict(type="PCKAccuracy", thr=0.05)
SIGMAS = np.linspace(0.03, 0.1, 17)


def make_sample(seed: int, error: float, num_keypoints: int = 17) -> dict:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(20, 120, (1, num_keypoints, 2))
    visible = (rng.random((1, num_keypoints)) > 0.2).astype(np.float32)
    visible[0, 0] = 1
    x0, y0 = rng.uniform(0, 20, 2)
    return dict(
        gt_instances=dict(
            keypoints=truth,
            keypoints_visible=visible,
            bboxes=np.array([[x0, y0, 130.0, 140.0]]),
            head_size=np.array([30.0]),
        ),
        pred_instances=dict(keypoints=truth + rng.normal(0, error, truth.shape)),
        raw_ann_info=dict(area=6000.0 + 100 * seed),
    )


@pytest.fixture
def samples() -> list[dict]:
    return [make_sample(seed, error) for seed, error in enumerate((1, 30, 4, 12, 8, 5, 20, 2, 6))]


def distances(sample) -> tuple[np.ndarray, float]:
    """Of the visible keypoints, and the longer side of the box; by NumPy alone."""
    visible = sample["gt_instances"]["keypoints_visible"][0] > 0
    offset = sample["pred_instances"]["keypoints"][0] - sample["gt_instances"]["keypoints"][0]
    x0, y0, x1, y1 = sample["gt_instances"]["bboxes"][0]
    return np.sqrt((offset[visible] ** 2).sum(axis=1)), max(x1 - x0, y1 - y0)


def test_the_order_is_that_of_pck_computed_by_hand(samples):
    by_hand, errors = [], []
    for sample in samples:
        far, side = distances(sample)
        by_hand.append((far < 0.05 * side).mean())
        errors.append(far.mean() / side)
        assert sample_pck(sample, PCK) == pytest.approx(by_hand[-1])
        assert sample_error(sample) == pytest.approx(errors[-1])
    scores = [sample_pck(sample, PCK) for sample in samples]
    order = hardest_first(np.array([scores]), np.array([[sample_error(s) for s in samples]]))
    expected = sorted(range(len(samples)), key=lambda i: (by_hand[i], -errors[i]))
    assert order.tolist() == expected
    assert pick(order, 2) == dict(
        hardest=expected[:2], median=expected[3:5], best=[expected[-1], expected[-2]]
    )


def test_pck_is_measured_as_the_configs_metric_does(samples):
    for sample in samples:
        far, side = distances(sample)
        head = dict(type="MpiiPCKAccuracy", thr=0.5)
        assert sample_pck(sample, head) == pytest.approx((far < 15).mean())
        assert sample_pck(sample, dict(PCK, thr=0.2)) == pytest.approx((far < 0.2 * side).mean())
        other = sample_pck(sample, dict(type="AUC"))
        assert other == pytest.approx((far < 0.05 * side).mean())


def test_oks_is_cocos(samples):
    for sample in samples:
        far, _ = distances(sample)
        visible = sample["gt_instances"]["keypoints_visible"][0] > 0
        x0, y0, x1, y1 = sample["gt_instances"]["bboxes"][0]
        for area in (sample["raw_ann_info"]["area"], 0.53 * (x1 - x0) * (y1 - y0)):
            similarity = np.exp(-(far**2) / (2 * area * (2 * SIGMAS[visible]) ** 2)).mean()
            assert sample_oks(sample, SIGMAS) == pytest.approx(similarity)
            del sample["raw_ann_info"]
            sample["raw_ann_info"] = None


def test_models_count_alike_and_errors_break_ties():
    scores = np.array([[0.2, 0.9, 0.5, 0.5], [0.8, 0.0, 0.5, 0.5]])
    errors = np.array([[0.1, 0.1, 0.1, 0.3], [0.2, 0.1, 0.1, 0.3]])
    # means 0.5, 0.45, 0.5, 0.5; of the three of one mean, the fourth is farthest off
    assert hardest_first(scores, errors).tolist() == [1, 3, 0, 2]


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="at least 6 samples .* there are 5"):
        pick(np.arange(5), 2)
    with pytest.raises(ValueError, match="at least 1"):
        pick(np.arange(5), 0)


def test_a_sample_without_visible_keypoints_is_no_sample(samples):
    assert is_labelled(samples[0])
    samples[0]["gt_instances"]["keypoints_visible"][:] = 0
    assert not is_labelled(samples[0])


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("people")
    write_toy_people(root, num_train=0, num_val=7)
    return root


def load(config: Path, people: Path) -> Config:
    cfg = Config.fromfile(config)
    loader = cfg.test_dataloader
    loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    loader.dataset.data_root = str(people)
    cfg.test_evaluator.ann_file = str(people / "annotations" / "person_keypoints_val.json")
    return cfg


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("checkpoints")
    files = {}
    for config in (PLAIN, GUIDED):
        torch.manual_seed(1)
        model = MODELS.build(Config.fromfile(config).model)
        model.init_weights()
        files[config] = str(folder / f"{config.stem}.pth")
        torch.save(dict(state_dict=model.state_dict(), meta={}), files[config])
    return files


def test_predictions_are_those_of_inference(people, checkpoints, tmp_path):
    cfg = load(GUIDED, people)
    samples = kept_predictions(cfg, checkpoints[GUIDED], tmp_path, indices=[5, 2])
    model = init_model(str(GUIDED), checkpoints[GUIDED], device="cpu")
    for number, sample in zip((5, 2), samples):
        assert sample["img_path"].endswith(f"{number + 1:06d}.png")
        box = sample["gt_instances"]["bboxes"]
        (expected,) = inference_topdown(model, sample["img_path"], box)
        np.testing.assert_allclose(
            sample["pred_instances"]["keypoints"], expected.pred_instances.keypoints, atol=1e-3
        )


@pytest.mark.slow
def test_an_interrupted_prediction_goes_on_where_it_was(people, checkpoints, tmp_path, monkeypatch):
    cfg = load(GUIDED, people)
    seen = []
    process = KeepPredictions.process

    def interrupted(self, batch, samples):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append([sample["img_id"] for sample in samples])
        process(self, batch, samples)

    monkeypatch.setattr(KeepPredictions, "process", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept_predictions(cfg, checkpoints[GUIDED], tmp_path)
    assert seen == [[1, 2], [3, 4]]

    def watched(self, batch, samples):
        seen.append([sample["img_id"] for sample in samples])
        process(self, batch, samples)

    monkeypatch.setattr(KeepPredictions, "process", watched)
    resumed = kept_predictions(cfg, checkpoints[GUIDED], tmp_path)
    assert seen == [[1, 2], [3, 4], [5, 6], [7]]
    monkeypatch.setattr(predictions.Runner, "from_cfg", None)  # all is there: nothing may run
    for _ in range(2):
        again = kept_predictions(cfg, checkpoints[GUIDED], tmp_path)
        assert [s["img_id"] for s in again] == [s["img_id"] for s in resumed] == list(range(1, 8))
    other = load(GUIDED, people)
    other.model.test_cfg.flip_test = False
    with pytest.raises(TypeError):  # another config has to be run
        kept_predictions(other, checkpoints[GUIDED], tmp_path)


def test_pictures_stand_where_the_crop_says(people, tmp_path):
    image = np.full((100, 100, 3), 50, np.uint8)
    file = str(tmp_path / "grey.png")
    cv2.imwrite(file, image)

    def sample(point, **more):
        return dict(
            img_path=file,
            input_center=np.array([60.0, 40.0]),
            input_scale=np.array([30.0, 40.0]),
            gt_instances=dict(
                keypoints=np.array([[[60.0, 40.0], [65.0, 30.0]]]),
                keypoints_visible=np.array([[1.0, 0.0]]),
            ),
            pred_instances=dict(keypoints=np.array([[point, (60.0, 50.0)]]), **more),
        )

    maps = np.zeros((1, 1, 16, 12))
    maps[0, 0, 4, 3] = 1
    models = [
        Predicted("plain", [sample((50.0, 40.0))], np.array([0.25])),
        Predicted("guided", [sample((70.0, 40.0), guide_maps=maps)], np.array([0.75])),
    ]
    meta = dict(keypoint_colors=np.array([[255, 0, 0], [255, 0, 0]]))
    pictures = sample_pictures(models, 0, meta, height=160)
    assert list(pictures) == ["ground truth", "plain", "guided", "guide 1"]
    assert [cell.caption for cell in pictures.values()] == ["", "0.25", "0.75", ""]

    def dots(title):
        picture = pictures[title].image.astype(int)
        assert picture.shape == (160, 120, 3)
        ys, xs = np.nonzero((picture[..., 0] > 200) & (picture[..., 1] < 60))
        return ys, xs

    # 4 pixels per pixel of the image; the crop begins at (45, 20)
    ys, xs = dots("ground truth")
    assert abs(xs.mean() - 60) < 1 and abs(ys.mean() - 80) < 1  # the other is not visible
    for title, x in (("plain", 20), ("guided", 100)):
        ys, xs = dots(title)
        assert abs(xs.mean() - (x + 60) / 2) < 1 and abs(ys.mean() - (80 + 120) / 2) < 1
    hot = pictures["guide 1"].image.astype(int).sum(-1)
    assert np.unravel_index(hot.argmax(), hot.shape) == (40, 30)


def test_sheet_and_page_hold_all_pictures():
    def column(seed):
        rng = np.random.default_rng(seed)
        names = ("ground truth", "A<B", "guide 1")
        return {n: Cell(rng.integers(0, 255, (40, 30, 3), dtype=np.uint8), "0.5") for n in names}

    pictures = {"hardest": [column(0), column(1)], "best": [column(2), column(3)]}
    sheet, places = gallery_sheet(pictures, "title", "note")
    columns = pictures["hardest"] + pictures["best"]
    for i, name in enumerate(columns[0]):
        for j, sample in enumerate(columns):
            x0, y0, x1, y1 = places[i, j]
            np.testing.assert_array_equal(sheet[y0:y1, x0:x1], sample[name].image)
    page = gallery_page(pictures, dict(hardest=["a", "b"], best=["c", "<d>"]), "t", "n & m")
    assert "A&lt;B 0.5" in page and "&lt;d&gt;" in page and "n &amp; m" in page
    files = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(files) == 12
    for data in files:
        picture = np.frombuffer(base64.b64decode(data), np.uint8)
        assert cv2.imdecode(picture, cv2.IMREAD_COLOR).shape == (40, 30, 3)


@pytest.mark.slow
def test_two_models_from_the_command_line(people, checkpoints, tmp_path, monkeypatch):
    out = tmp_path / "gallery"
    options = [
        f"test_dataloader.dataset.data_root={people}",
        "test_dataloader.num_workers=0",
        "test_dataloader.persistent_workers=False",
    ]
    arguments = [str(PLAIN), checkpoints[PLAIN], "--also", str(GUIDED), checkpoints[GUIDED]]
    arguments += ["--out", str(out), "--num", "2", "--cfg-options", *options]
    monkeypatch.setattr(sys, "argv", ["gallery.py", *arguments])
    runpy.run_path(str(ROOT / "tools" / "gallery.py"), run_name="__main__")
    page = (out / "gallery.html").read_text()
    assert re.findall(r"<h2>(\w+)</h2>", page) == ["hardest", "median", "best"]
    assert page.count("data:image") == 6 * (1 + 2 + 4)
    assert cv2.imread(str(out / "gallery.png")).shape[1] > 6 * 144

    models = [(load(c, people), checkpoints[c], c.stem) for c in (PLAIN, GUIDED)]
    groups = gallery(models, out, 2, "pck", 96)
    scores, errors = [], []
    for cfg, checkpoint, _ in models:
        kept = kept_predictions(cfg, checkpoint, out / "cache")
        far = [distances(sample) for sample in kept]
        scores.append([(d < 0.05 * side).mean() for d, side in far])
        errors.append([d.mean() / side for d, side in far])
    order = sorted(range(7), key=lambda i: (np.mean(scores, 0)[i], -np.mean(errors, 0)[i]))
    assert groups == dict(hardest=order[:2], median=order[2:4], best=order[:-3:-1])

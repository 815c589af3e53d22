# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""MMPose's own ways to use a trained model: functions, inferencer, detector boxes, tools."""

import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from fabricate import tiny_run
from mmdet.apis import DetInferencer, init_detector
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmpose.apis import MMPoseInferencer, inference_topdown, init_model
from mmpose.evaluation.functional import nms
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from sgpose.datasets import toy_sample, write_toy_people

ROOT = Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / "configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py")
DETECTOR = """
_base_ = ["mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"]
model = dict(
    backbone=dict(init_cfg=None), bbox_head=dict(num_classes=1), test_cfg=dict(max_per_img=3)
)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (160, 160)
test_pipeline[2].size = (160, 160)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """A checkpoint that MMEngine wrote after one step of training."""
    root = tmp_path_factory.mktemp("checkpoint")
    cfg = tiny_run(CONFIG, root)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.default_hooks.checkpoint.update(save_best=None, interval=1)
    Runner.from_cfg(cfg).train()
    return str(root / "work_dir" / "epoch_1.pth")


@pytest.fixture(scope="module")
def model(checkpoint):
    return init_model(CONFIG, checkpoint, device="cpu")


@pytest.fixture(scope="module")
def inferencer(checkpoint) -> MMPoseInferencer:
    return MMPoseInferencer(
        pose2d=CONFIG, pose2d_weights=checkpoint, det_model="whole_image", device="cpu"
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A folder with two pictures of different size."""
    folder = tmp_path_factory.mktemp("images")
    for index in range(2):
        cv2.imwrite(str(folder / f"{index}.png"), toy_sample(seed=1, index=index)[0])
    return folder


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> tuple[str, str]:
    """Config and checkpoint of an RTMDet that finds persons of a decent size everywhere."""
    folder = tmp_path_factory.mktemp("detector")
    config, weights = folder / "detector.py", folder / "detector.pth"
    config.write_text(DETECTOR)
    torch.manual_seed(0)
    built = init_detector(str(config), device="cpu", palette="coco")
    for regression, classification in zip(built.bbox_head.rtm_reg, built.bbox_head.rtm_cls):
        torch.nn.init.constant_(regression.bias, 5.0)  # in strides of 8 to 32 px
        torch.nn.init.constant_(classification.bias, 1.0)
    meta = dict(dataset_meta=dict(classes=("person",), palette=[(0, 0, 0)]))
    torch.save(dict(state_dict=built.state_dict(), meta=meta), weights)
    return str(config), str(weights)


def keypoints(result) -> np.ndarray:
    """Keypoints (N, K, 2) of an inferencer's result for one image."""
    return np.array([person["keypoints"] for person in result["predictions"][0]])


def test_init_model_takes_metainfo_and_weights_from_the_checkpoint(model, checkpoint):
    saved = torch.load(checkpoint, weights_only=False)
    assert model.dataset_meta["dataset_name"] == saved["meta"]["dataset_meta"]["dataset_name"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved["state_dict"][name]), name


def test_inference_topdown_takes_boxes_or_the_whole_image(model, images):
    path = str(images / "0.png")
    image = cv2.imread(path)
    height, width = image.shape[:2]
    boxes = [[0, 0, width, height], [10, 20, 60, 100]]

    def found(*args, **kwargs):
        samples = inference_topdown(model, *args, **kwargs)
        return np.concatenate([sample.pred_instances.keypoints for sample in samples])

    whole = found(path)
    assert whole.shape == (1, 17, 2) and np.isfinite(whole).all()
    np.testing.assert_array_equal(whole, found(image, boxes[:1]))
    both = found(image, boxes)
    corner_and_size = np.array([[0, 0, width, height], [10, 20, 50, 80]])
    np.testing.assert_array_equal(both, found(path, corner_and_size, bbox_format="xywh"))
    assert not np.allclose(both[0], both[1], atol=1)


def test_the_inferencer_takes_an_image_a_folder_an_array_and_a_video(
    inferencer, model, images, tmp_path
):
    paths = sorted(str(path) for path in images.iterdir())
    expected = [inference_topdown(model, path)[0].pred_instances.keypoints for path in paths]
    by_folder = list(inferencer(str(images), out_dir=str(tmp_path)))
    for result, reference in zip(by_folder, expected):
        np.testing.assert_allclose(keypoints(result), reference, atol=1e-3)
    written = json.loads((tmp_path / "predictions" / "0.json").read_text())
    assert written[0]["keypoints"] == by_folder[0]["predictions"][0][0]["keypoints"]
    assert (tmp_path / "visualizations" / "1.png").is_file()
    for source in (paths[0], cv2.imread(paths[0])):
        (result,) = inferencer(source)
        np.testing.assert_allclose(keypoints(result), expected[0], atol=1e-3)

    video = str(tmp_path / "three.avi")
    writer = cv2.VideoWriter(video, cv2.VideoWriter_fourcc(*"MJPG"), 5, (96, 128))
    for frame in range(3):
        writer.write(np.full((128, 96, 3), 80 * frame, np.uint8))
    writer.release()
    results = list(inferencer(video, out_dir=str(tmp_path)))
    assert [keypoints(result).shape for result in results] == [(1, 17, 2)] * 3
    assert len(json.loads((tmp_path / "predictions" / "three.json").read_text())) == 3
    drawn = cv2.VideoCapture(str(tmp_path / "visualizations" / "three.avi"))
    assert drawn.read()[0]


def test_with_heatmaps_the_guides_maps_come_along(inferencer, images):
    path = str(images / "0.png")
    height, width = cv2.imread(path).shape[:2]
    plain, drawn = (
        next(inferencer(path, draw_heatmap=draw, return_vis=True, return_datasamples=True))
        for draw in (False, True)
    )
    assert plain["visualization"][0].shape == (height, width, 3)
    # heatmaps below, the four guides to the right
    assert drawn["visualization"][0].shape == (2 * height, 3 * width, 3)
    assert "guide_maps" not in plain["predictions"][0].pred_instances
    (maps,) = drawn["predictions"][0].pred_instances.guide_maps
    assert maps.shape == (4, 32, 24) and 0 <= maps.min() < maps.max() <= 1


def test_the_boxes_of_a_detector_reach_the_model(detector, checkpoint, model, images):
    config, weights = detector
    path = str(images / "1.png")
    inferencer = MMPoseInferencer(
        pose2d=CONFIG,
        pose2d_weights=checkpoint,
        det_model=config,
        det_weights=weights,
        det_cat_ids=[0],
        device="cpu",
    )
    (result,) = inferencer(path, return_datasamples=True)
    found = result["predictions"][0].pred_instances
    (detected,) = inferencer.inferencer.detector(path, return_datasamples=True)["predictions"]
    detected = detected.pred_instances.numpy()
    boxes = np.concatenate([detected.bboxes, detected.scores[:, None]], axis=1)
    boxes = boxes[nms(boxes, 0.3)][:, :4]
    assert len(boxes) > 0 and (boxes[:, 2:] - boxes[:, :2]).min() > 5
    np.testing.assert_allclose(found.bboxes, boxes, rtol=1e-5)
    expected = [s.pred_instances.keypoints[0] for s in inference_topdown(model, path, boxes)]
    np.testing.assert_allclose(found.keypoints, expected, atol=1e-3)


def test_the_inferencer_knows_our_models_by_their_paths_alone():
    with pytest.raises(ValueError, match="Cannot find model: td-hm_sghrnet.* in mmpose"):
        MMPoseInferencer(pose2d=Path(CONFIG).stem, device="cpu")


@pytest.fixture(scope="module")
def detect_persons():
    """The function that docs/supported_entry_points.md gives to write a detector's boxes."""
    text = (ROOT / "docs" / "supported_entry_points.md").read_text()
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", text, re.S) if "bbox=" in c)
    names: dict = {}
    exec(code[: code.index("\ndetector = ")], names)
    return names["detect_persons"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    write_toy_people(root, num_train=1, num_val=3)
    # CocoDataset clips annotated boxes at the border, but not detected ones
    file = root / "annotations" / "person_keypoints_val.json"
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x + 2, y + 2, w - 4, h - 4]
    file.write_text(json.dumps(content))
    return root


def test_the_recipe_reads_what_a_detector_returns(detect_persons, detector, toy):
    annotations = toy / "annotations" / "person_keypoints_val.json"
    inferencer = DetInferencer(*detector, device="cpu", show_progress=False)
    boxes = detect_persons(inferencer, annotations, toy / "val")
    assert {box["image_id"] for box in boxes} == {1, 2, 3}
    (first,) = inferencer(str(toy / "val" / "000001.png"), return_datasamples=True)["predictions"]
    x1, y1, x2, y2 = first.pred_instances.bboxes[0].tolist()
    assert boxes[0]["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1])
    assert boxes[0]["score"] == pytest.approx(float(first.pred_instances.scores[0]))
    json.dumps(boxes)


def test_our_test_tool_scores_the_boxes_of_a_detector(
    detect_persons, toy, checkpoint, tmp_path, monkeypatch, capfd
):
    """A detector that finds exactly the annotated boxes leads to the keypoints of these boxes."""
    file = toy / "annotations" / "person_keypoints_val.json"
    truth = {a["image_id"]: a["bbox"] for a in json.loads(file.read_text())["annotations"]}

    def perfect(path, return_datasamples):
        x, y, w, h = truth[int(Path(path).stem)]
        found = InstanceData(
            bboxes=torch.tensor([[x, y, x + w, y + h], [0, 0, 9, 9]]),
            scores=torch.tensor([0.75, 0.5]),
            labels=torch.tensor([0, 1]),  # the second is no person
        )
        return dict(predictions=[SimpleNamespace(pred_instances=found)])

    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(detect_persons(perfect, file, toy / "val")))
    keypoints = []
    for name, bbox_file in (("truth", None), ("boxes", boxes)):
        options = [
            f"test_dataloader.dataset.data_root={toy}",
            "test_dataloader.num_workers=0",
            "test_dataloader.persistent_workers=False",
            f"test_dataloader.dataset.bbox_file={bbox_file}",
            f"test_evaluator.ann_file={file}",
            f"test_evaluator.outfile_prefix={tmp_path / name}",
        ]
        arguments = ["--work-dir", str(tmp_path / "work_dir"), "--cfg-options", *options]
        monkeypatch.setattr(sys, "argv", ["test.py", CONFIG, checkpoint, *arguments])
        runpy.run_path(str(ROOT / "tools" / "test.py"), run_name="__main__")
        assert "Average Precision  (AP) @[ IoU=0.50:0.95" in capfd.readouterr().out
        results = json.loads((tmp_path / f"{name}.keypoints.json").read_text())
        keypoints.append({r["image_id"]: r["keypoints"] for r in results})
    assert keypoints[0].keys() == truth.keys()
    assert keypoints[0] == keypoints[1]


def test_bfloat16_autocast_computes_the_same_losses(small_extra):
    codec = dict(type="MSRAHeatmap", input_size=(64, 64), heatmap_size=(16, 16), sigma=2)
    model = MODELS.build(
        dict(
            type="TopdownPoseEstimator",
            backbone=dict(type="SGHRNet", extra=small_extra),
            head=dict(
                type="SGHeatmapHead",
                in_channels=8,
                out_channels=5,
                deconv_out_channels=None,
                decoder=codec,
                loss=dict(type="KeypointMSELoss", use_target_weight=True),
            ),
            train_cfg=dict(compute_acc=False),  # MMPose's accuracy knows no bfloat16
        )
    )
    model.init_weights()
    weighting = model.head.loss_weighting
    inputs = torch.randn(4, 3, 64, 64)
    samples = [target_sample() for _ in range(4)]
    losses, histories = [], []
    for enabled in (False, True):
        weighting.history.zero_()
        weighting.num_intervals.zero_()
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(model(inputs, samples, mode="loss"))
        sum(losses[-1][name] for name in ("loss_kpt", "loss_seg")).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.isfinite().all(), name
        histories.append(weighting.history[0].clone())
    for name in ("loss_kpt", "loss_seg"):
        torch.testing.assert_close(losses[1][name], losses[0][name], rtol=2e-2, atol=0)
        assert losses[1][name].dtype == torch.float32
    assert weighting.history.dtype == torch.float32
    assert not torch.equal(*histories)  # it did compute in another precision
    torch.testing.assert_close(*histories, rtol=2e-2, atol=0)


def target_sample():
    """A data sample with random heatmaps (5, 16, 16) and segmentation (1, 16, 16)."""
    sample = PoseDataSample()
    sample.gt_fields = PixelData(
        heatmaps=torch.rand(5, 16, 16), segmentation=(torch.rand(1, 16, 16) > 0.8).float()
    )
    sample.gt_instance_labels = InstanceData(keypoint_weights=torch.ones(1, 5))
    return sample

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""MMPose's configs of other kinds with a guided backbone: one training step, one validation each.

Each example under examples/drop_in is one of MMPose's configs and the few lines that guide it. Here
they read two fabricated images through the config's own dataset class and pipeline.
"""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricate import HEIGHT, WIDTH, tiny_run
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmpose.models.heads import RegressionHead
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.structures import PoseDataSample
from test_configs import score, without_scope

from sgpose.models import SegmentationGuidedHeadMixin

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples" / "drop_in").glob("*.py"))

# COCO-WholeBody keeps the 133 keypoints of a person in five lists.
WHOLEBODY_PARTS = dict(keypoints=17, foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21)


def fit_annotations(path: Path, dataset_type: str) -> None:
    """Rewrite a COCO-style file of whole persons in the dialect of a dataset class."""
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        if dataset_type == "WFLWDataset":
            annotation.update(center=[WIDTH / 2, HEIGHT / 2], scale=0.9)
        elif dataset_type == "CocoWholeBodyDataset":
            values, start = annotation["keypoints"], 0
            for part, count in WHOLEBODY_PARTS.items():
                annotation[part] = values[3 * start : 3 * (start + count)]
                start += count
            annotation.update(segmentation=[], face_valid=True, foot_valid=True)
            annotation.update(lefthand_valid=True, righthand_valid=True)
        elif dataset_type == "CocoWholeBodyHandDataset":
            annotation.update(
                lefthand_kpts=annotation["keypoints"],
                lefthand_box=annotation["bbox"],
                lefthand_valid=True,
                righthand_valid=False,
                segmentation=[],
            )
    path.write_text(json.dumps(content))


def without_pretrained(cfg):
    """Drop the checkpoints that MMPose's config would download."""
    if isinstance(cfg, dict):
        for key, value in cfg.items():
            if key == "init_cfg" and isinstance(value, dict) and value["type"] == "Pretrained":
                cfg[key] = None
            else:
                without_pretrained(value)


def shallow(backbone) -> None:
    """Keep one block and one module of each stage: the structure stays."""
    for stage in backbone.get("extra", {}).values():
        if "num_blocks" in stage:
            stage.update(num_modules=1, num_blocks=(1,) * stage["num_branches"])


def scaled(cfg, sizes, factor):
    """Replace image and heatmap sizes by smaller ones, wherever they stand."""
    if isinstance(cfg, dict):
        for key, value in cfg.items():
            cfg[key] = scaled(value, sizes, factor)
    elif isinstance(cfg, tuple) and cfg in sizes:
        return tuple(size // factor for size in cfg)
    elif isinstance(cfg, list):
        return [scaled(value, sizes, factor) for value in cfg]
    return cfg


def available(pipeline: list) -> list:
    """Drop the augmentation of a package that MMPose does not itself install."""
    if importlib.util.find_spec("albumentations"):
        return pipeline
    return [t for t in pipeline if t["type"] != "Albumentation"]


def small_run(config: Path, root: Path) -> Config:
    cfg = tiny_run(config, root)
    dataset = cfg.train_dataloader.dataset
    fit_annotations(root / "ann.json", dataset.type)
    without_pretrained(cfg.model)
    shallow(cfg.model.backbone)
    if dataset.data_mode == "bottomup":
        for key, value in cfg.items():
            cfg[key] = scaled(value, [(512, 512), (128, 128)], 4)
        cfg.val_dataloader.batch_size = 1  # DEKR takes no more
    dataset.pipeline = available(dataset.pipeline)
    for hook in cfg.get("custom_hooks", []):
        if "switch_pipeline" in hook:
            hook.update(switch_epoch=1, switch_pipeline=available(hook.switch_pipeline))
            cfg.train_cfg.update(max_epochs=2, val_interval=2)
    return cfg


def encoders(cfg) -> list:
    """Return the codecs of all training pipelines, that of a later stage included."""
    pipelines = [cfg.train_dataloader.dataset.pipeline]
    pipelines += [h.switch_pipeline for h in cfg.get("custom_hooks", []) if "switch_pipeline" in h]
    return [t.encoder for p in pipelines for t in p if t.type == "GenerateTarget"]


class Watch(Hook):
    """Keep the losses and masks of each training step and the gradients of the guides."""

    def before_train(self, runner):
        self.steps, self.masks, self.gradients = [], [], {}
        for name, parameter in runner.model.named_parameters():
            if ".guides." in name:
                self.gradients[name] = 0.0
                parameter.register_hook(lambda g, name=name: self.add(name, g))

    def add(self, name, gradient):
        self.gradients[name] += float(gradient.abs().sum())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps.append({k: float(v) for k, v in outputs.items()})
        fields = [s.gt_fields for s in data_batch["data_samples"] if "gt_fields" in s]
        self.masks += [f.segmentation for f in fields if "segmentation" in f]


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda p: p.stem)
def test_example_trains_and_validates(config, tmp_path):
    cfg = small_run(config, tmp_path)
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()

    assert len(watch.gradients) >= 4
    assert all(0 < g < math.inf for g in watch.gradients.values()), watch.gradients
    assert all(math.isfinite(step["loss"]) for step in watch.steps)
    assert math.isfinite(score(runner))
    if cfg.model.head.type == "DEKRHead":
        return
    guided = encoders(cfg)
    assert len(guided) == len(watch.steps) == cfg.train_cfg.max_epochs
    assert len(watch.masks) == 2 * len(guided)
    for encoder in guided:
        assert encoder.type == "SegmentationTarget"
        assert without_scope(encoder.codec) == without_scope(cfg.codec)
    width, height = guided[0].get("mask_size") or cfg.codec.heatmap_size
    for mask in watch.masks:
        assert mask.shape == (1, height, width)
        assert 0 < mask.mean() < 1
    for step in watch.steps:
        assert 0 < step["loss_seg"] < math.inf
        assert step["raw_seg"] == pytest.approx(0.002 * math.log(2), rel=0.5)


def test_examples_are_named_once_and_explained():
    page = (ROOT / "docs" / "other_configs.md").read_text()
    names = [p.name for p in EXAMPLES]
    shipped = [p.name for p in (ROOT / "configs").rglob("*.py")]
    assert len(set(names)) == len(names) >= 8
    assert not set(names) & set(shipped)
    for name in names:
        assert name in page, f"docs/other_configs.md does not explain {name}"


def guided_model(head: dict, neck: dict):
    """Return a small guided pose estimator and two samples of its targets."""
    model = MODELS.build(
        dict(
            type="TopdownPoseEstimator",
            backbone=dict(
                type="SGBackbone",
                backbone=dict(type="ResNet", depth=18, out_indices=(0, 1)),
            ),
            neck=dict(type="GuidedNeck", neck=neck),
            head=head,
        )
    )
    encoder = KEYPOINT_CODECS.build(
        dict(type="SegmentationTarget", codec=head["decoder"], radius=2.0, mask_size=(16, 16))
    )
    samples = []
    for keypoints in np.random.default_rng(0).uniform(10, 50, (2, 1, 3, 2)).astype(np.float32):
        encoded = encoder.encode(keypoints)
        labels = {k: encoded[k] for k in ("keypoint_labels", "keypoint_weights")}
        sample = PoseDataSample()
        sample.gt_instance_labels = InstanceData(**labels).to_tensor()
        sample.gt_fields = PixelData(segmentation=torch.from_numpy(encoded["segmentation"]))
        samples.append(sample)
    return model, samples


def test_any_head_is_guided_in_one_line():
    @MODELS.register_module(force=True)
    class SGRegressionHead(SegmentationGuidedHeadMixin, RegressionHead):
        pass

    codec = dict(type="RegressionLabel", input_size=(64, 64))
    head = dict(type="SGRegressionHead", in_channels=128, num_joints=3, decoder=codec)
    model, samples = guided_model(head, dict(type="GlobalAveragePooling"))
    losses = model.loss(torch.randn(2, 3, 64, 64), samples)
    assert losses["raw_seg"] == pytest.approx(0.002 * math.log(2), rel=0.5)
    sum(v for k, v in losses.items() if "loss" in k).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.backbone.guides.parameters())


@pytest.mark.parametrize("head", ["SGSimCCHead", "SGRTMCCHead"])
def test_a_feature_map_of_another_size_than_the_heads_is_named(head):
    codec = dict(type="SimCCLabel", input_size=(48, 64))
    head = MODELS.build(
        dict(
            type=head,
            in_channels=4,
            out_channels=3,
            input_size=(48, 64),
            in_featuremap_size=(3, 4),
            decoder=codec,
        )
    )
    with pytest.raises(ValueError, match=r"\(3, 4\) and got \(6, 8\): set its in_featuremap_size"):
        head((torch.zeros(1, 4, 8, 6),))

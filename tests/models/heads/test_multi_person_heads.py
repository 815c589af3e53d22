# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""MMPose's networks that find all persons of an image: one training step, one prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from mmpose.models.heads import EDPoseHead
from mmpose.registry import MODELS, TRANSFORMS
from mmpose.structures import PoseDataSample

from sgpose.models import SegmentationGuidedHeadMixin
from sgpose.models.heads.segmentation_guided_head import _add_maps, attention_maps

SIZE, MAP = 128, 32
CONFIGS = dict(
    DEKRHead="dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py",
    CIDHead="cid/coco/cid_hrnet-w32_8xb20-140e_coco-512x512.py",
    RTMOHead="rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py",
    YOLOXPoseHead="yoloxpose/coco/yoloxpose_s_8xb32-300e_coco-640.py",
)


for name in CONFIGS:
    guided = type(f"SG{name}", (SegmentationGuidedHeadMixin, MODELS.get(name)), {})
    MODELS.register_module(module=guided, force=True)


def guided_model(name: str):
    """Build MMPose's model with guides; return it and the wrapped codec of its targets."""
    cfg = get_config(f"mmpose::body_2d_keypoint/{CONFIGS[name]}")
    model, codec = cfg.model, cfg.codec
    model.init_cfg = None
    model.backbone.init_cfg = None
    model.data_preprocessor.batch_augments = None
    if model.backbone.type == "HRNet":
        model.backbone.type = "SGHRNet"
        for stage in model.backbone.extra.values():
            if "num_blocks" in stage:
                stage.update(num_modules=1, num_blocks=(1,) * stage["num_branches"])
        for size, value in (("input_size", SIZE), ("heatmap_size", MAP)):
            codec[size] = (value, value)
            if "decoder" in model.head:
                model.head.decoder[size] = (value, value)
        encoder = dict(type="SegmentationTarget", codec=codec, radius=2.0)
    else:
        model.backbone = dict(type="SGBackbone", backbone=model.backbone, guide_indices=(0,))
        codec.input_size = (SIZE, SIZE)
        encoder = dict(
            type="SegmentationTarget", codec=codec, radius=2.0, mask_size=(SIZE // 8, SIZE // 8)
        )
    if "neck" in model:
        model.neck = dict(type="GuidedNeck", neck=model.neck)
    model.head.type = f"SG{name}"
    torch.manual_seed(0)
    return MODELS.build(model), encoder


def batch(encoder: dict, count: int = 2) -> dict:
    """Return images of noise with two persons each, as MMPose's data loader would."""
    generate = TRANSFORMS.build(dict(type="GenerateTarget", encoder=encoder))
    pack = TRANSFORMS.build(dict(type="PackPoseInputs", meta_keys=META))
    rng = np.random.default_rng(0)
    packed = []
    for _ in range(count):
        keypoints = rng.uniform(20, SIZE - 20, (2, 17, 2)).astype(np.float32)
        boxes = np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1)
        sample = dict(
            img=rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8),
            keypoints=keypoints,
            keypoints_visible=np.ones((2, 17), np.float32),
            bbox=corners(boxes) if encoder["codec"]["type"] == "DecoupledHeatmap" else boxes,
            bbox_score=np.ones(2, np.float32),
            bbox_scale=boxes[:, 2:] - boxes[:, :2],
            category_id=[1, 1],
            area=np.full(2, 60.0 * 60.0, np.float32),
            id=[0, 1],
            img_shape=(SIZE, SIZE),
            ori_shape=(2 * SIZE, 2 * SIZE),
            input_size=(SIZE, SIZE),
            input_center=np.array([SIZE, SIZE], np.float32),
            input_scale=np.array([2.0 * SIZE, 2.0 * SIZE], np.float32),
            flip_indices=list(range(17)),
            dataset_keypoint_weights=np.ones(17, np.float32),
        )
        packed.append(pack(generate(sample)))
    return {key: [sample[key] for sample in packed] for key in ("inputs", "data_samples")}


META = ("img_shape", "ori_shape", "input_size", "input_center", "input_scale", "flip_indices")


def corners(boxes: np.ndarray) -> np.ndarray:
    """Return the four corners (N, 4, 2) of boxes, as MMPose's affine transforms do."""
    return boxes[:, [0, 1, 0, 3, 2, 1, 2, 3]].reshape(-1, 4, 2)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_guides_learn_from_the_masks_of_all_persons(name):
    model, encoder = guided_model(name)
    model.train()
    data = model.data_preprocessor(batch(encoder), True)
    masks = [sample.gt_fields.segmentation for sample in data["data_samples"]]
    assert all(0 < mask.mean() < 1 for mask in masks)
    losses = model(**data, mode="loss")
    assert losses["raw_seg"] == pytest.approx(0.002 * np.log(2), rel=0.5)
    total, _ = model.parse_losses(losses)
    total.backward()
    guides = [p for n, p in model.named_parameters() if ".guides." in n]
    assert guides and all(p.grad.abs().sum() > 0 for p in guides)


FLIPS = [("DEKRHead", True), ("CIDHead", True)]  # MMPose's other two have no flip test


@pytest.mark.parametrize("name, flip", [*((name, False) for name in CONFIGS), *FLIPS])
def test_the_maps_of_the_image_come_with_each_of_its_persons(name, flip):
    model, encoder = guided_model(name)
    model.eval()
    # untrained scores are low
    test_cfg = dict(model.test_cfg, output_heatmaps=True, score_thr=0.0, nms_thr=0.99)
    model.test_cfg = dict(test_cfg, flip_test=flip, shift_heatmap=False)
    data = model.data_preprocessor(batch(encoder, count=1), False)
    with torch.no_grad():
        (sample,) = model(**data, mode="predict")
        feats = model.extract_feat(data["inputs"])
        mirrored = model.extract_feat(data["inputs"].flip(-1))
    found = sample.pred_instances
    assert isinstance(sample, PoseDataSample) and len(found) > 0
    maps = attention_maps(feats)
    if flip:
        maps = (maps + attention_maps(mirrored).flip(-1)) / 2
    assert found.guide_maps.shape == (len(found), *maps.shape[1:])
    for person in found.guide_maps:
        np.testing.assert_allclose(person, maps[0].numpy(), atol=1e-5)
    assert (found.guide_input_center == SIZE).all()
    assert (found.guide_input_scale == 2 * SIZE).all()


def test_an_image_of_nobody_has_no_maps():
    instance = InstanceData(keypoints=np.zeros((0, 17, 2)))
    meta = dict(input_center=np.array([1.0, 2.0]), input_scale=np.array([3.0, 4.0]))
    _add_maps(instance, np.zeros((4, 8, 8)), meta)
    assert instance.guide_maps.shape == (0, 4, 8, 8)
    assert instance.guide_input_center.shape == (0, 2)


def test_what_mmpose_cannot_train_is_refused_when_it_is_built():
    class SGEDPoseHead(SegmentationGuidedHeadMixin, EDPoseHead):
        pass

    with pytest.raises(TypeError, match="cannot train EDPoseHead"):
        SGEDPoseHead()

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What a training without supervision of the maps is told, and what it is not."""

import copy

import pytest
import torch
from mmpose.registry import MODELS
from toy_runs import fabricated_batch, small_estimator

from sgpose.models import GuidedFeatures
from sgpose.models.layers import guided_features


@pytest.fixture
def log(monkeypatch):
    messages = []
    monkeypatch.setattr(guided_features, "print_log", lambda text, **kw: messages.append(text))
    monkeypatch.setattr(GuidedFeatures, "_unread", 0)
    return messages


def steps(cfg, count, mode="loss"):
    model = MODELS.build(cfg).train()
    rng = torch.Generator().manual_seed(0)
    keypoints = 10 + 40 * torch.rand(2, 5, 2, generator=rng).numpy()
    batch = fabricated_batch(small_estimator(), keypoints, torch.ones(2, 5).numpy())
    for _ in range(count):
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        model(**data, mode=mode)


def plain_head(cfg):
    cfg["head"]["type"] = "HeatmapHead"
    return cfg


def with_neck(cfg):
    neck = dict(type="FeatureMapProcessor", select_index=(0,))
    return dict(cfg, neck=dict(type="GuidedNeck", neck=neck))


@pytest.mark.parametrize("change", [dict, with_neck])
def test_a_plain_head_on_a_guided_backbone_is_named_once(log, change):
    steps(change(plain_head(small_estimator())), 2 * guided_features.UNREAD + 1)
    assert len(log) == 1 and "supervised by nothing" in log[0]


def test_a_distiller_that_calls_the_heads_forward(log):
    steps(small_estimator(), guided_features.UNREAD, mode="tensor")
    assert len(log) == 1 and "call head.loss" in log[0]


@pytest.mark.parametrize("head", [{}, dict(segmentation_loss=None), dict(loss_weighting=None)])
@pytest.mark.parametrize("change", [dict, with_neck])
def test_a_guided_head_is_none_of_these(log, head, change):
    steps(change(small_estimator(**head)), guided_features.UNREAD + 1)
    assert not log


def test_nor_is_inference(log):
    with torch.no_grad():
        steps(plain_head(small_estimator()), guided_features.UNREAD + 1, mode="tensor")
    assert not log


def test_copies_and_other_features_carry_the_logits():
    feats = GuidedFeatures([torch.ones(1)], [torch.zeros(2)])
    assert copy.deepcopy(feats).segmentation_logits[0].shape == (2,)
    other = feats.beside([torch.ones(3), torch.ones(4)])
    assert len(other) == 2 and other.segmentation_logits[0] is feats.segmentation_logits[0]

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import pytest
import torch
from mmpose.registry import MODELS

from sgpose.models import GuidedFeatures

LOGITS = [torch.zeros(2, 1, 16, 12)]


def features(*channels):
    return [torch.randn(2, c, 16 >> i, 12 >> i) for i, c in enumerate(channels)]


@pytest.mark.parametrize(
    "neck, channels",
    [
        (dict(type="FeatureMapProcessor", concat=True), (4, 8, 16)),
        (dict(type="FeatureMapProcessor", select_index=1), (4, 8)),
        (dict(type="FPN", in_channels=[4, 8], out_channels=6, num_outs=2), (4, 8)),
    ],
)
def test_neck_runs_and_logits_come_through(neck, channels):
    guided = MODELS.build(dict(type="GuidedNeck", neck=neck))
    feats = features(*channels)
    output = guided(GuidedFeatures(feats, LOGITS))
    plain = guided.neck(tuple(feats))
    assert isinstance(output, GuidedFeatures)
    assert output.segmentation_logits[0] is LOGITS[0]
    assert len(output) == len(plain)
    for ours, theirs in zip(output, plain):
        assert torch.equal(ours, theirs)


def test_neck_that_returns_a_tensor():
    guided = MODELS.build(dict(type="GuidedNeck", neck=dict(type="GlobalAveragePooling")))
    (feature,) = features(4)
    guided.neck.forward = lambda feats: feats[0]
    output = guided(GuidedFeatures([feature], LOGITS))
    assert len(output) == 1 and output[0] is feature


def test_plain_features_are_refused():
    guided = MODELS.build(dict(type="GuidedNeck", neck=dict(type="FeatureMapProcessor")))
    with pytest.raises(TypeError, match="needs features that carry segmentation logits, got tuple"):
        guided(tuple(features(4)))

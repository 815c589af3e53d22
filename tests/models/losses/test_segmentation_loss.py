# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from mmpose.registry import MODELS


def test_loss_equals_numpy_in_float64():
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 3, (2, 1, 5, 4)) for _ in range(4)]
    target = rng.integers(0, 2, (2, 1, 5, 4)).astype(float)
    expected = 0.0
    for z in logits:
        s = 1 / (1 + np.exp(-z))
        expected += -(target * np.log(s) + (1 - target) * np.log(1 - s)).mean() / 4
    loss = MODELS.build(dict(type="SegmentationLoss", loss_weight=0.3))
    value = loss([torch.tensor(z) for z in logits], torch.tensor(target))
    assert value.item() == pytest.approx(0.3 * expected, rel=1e-5)


def test_default_weight_is_the_papers_lambda():
    loss = MODELS.build(dict(type="SegmentationLoss"))
    value = loss([torch.zeros(1, 1, 2, 2)], torch.ones(1, 1, 2, 2))
    assert value.item() == pytest.approx(0.002 * np.log(2))


def test_half_precision_logits_lose_nothing_more():
    logits = torch.randn(2, 1, 8, 8).bfloat16()
    target = torch.randint(0, 2, (2, 1, 8, 8)).float()
    loss = MODELS.build(dict(type="SegmentationLoss", loss_weight=1.0))
    assert loss([logits], target).dtype == torch.float32
    assert torch.equal(loss([logits], target), loss([logits.float()], target))


def test_extreme_logits_stay_finite():
    loss = MODELS.build(dict(type="SegmentationLoss", loss_weight=1.0))
    value = loss([torch.full((1, 1, 2, 2), -500.0)], torch.ones(1, 1, 2, 2))
    assert value.item() == 500.0


def test_bad_input():
    loss = MODELS.build(dict(type="SegmentationLoss"))
    target = torch.ones(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"target's shape \(1, 1, 4, 4\), got \[\]"):
        loss([], target)
    with pytest.raises(ValueError, match="target's shape"):
        loss([torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)], target)
    with pytest.raises(ValueError, match="loss_weight must not be negative, got -1"):
        MODELS.build(dict(type="SegmentationLoss", loss_weight=-1))


def test_a_weight_of_nothing_is_allowed():
    loss = MODELS.build(dict(type="SegmentationLoss", loss_weight=0))
    assert loss([torch.randn(1, 1, 2, 2)], torch.ones(1, 1, 2, 2)) == 0


def test_an_automatic_weight_is_no_part_of_the_loss():
    logits, target = [torch.randn(1, 1, 4, 4)], torch.ones(1, 1, 4, 4)
    auto = MODELS.build(dict(type="SegmentationLoss", loss_weight="auto"))
    whole = MODELS.build(dict(type="SegmentationLoss", loss_weight=1.0))
    assert torch.equal(auto(logits, target), whole(logits, target))
    assert auto.auto_weight.otherwise == 0.002 and whole.auto_weight is None
    assert not list(whole.state_dict()), "checkpoints of a number hold nothing new"


@pytest.mark.parametrize("weight", ["automatic", float("nan"), "0.002"])
def test_other_words_are_refused(weight):
    with pytest.raises(ValueError, match="a number >= 0, or 'auto'"):
        MODELS.build(dict(type="SegmentationLoss", loss_weight=weight))

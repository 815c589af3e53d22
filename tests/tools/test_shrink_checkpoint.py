# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import runpy
from pathlib import Path

import pytest
import torch

shrink = runpy.run_path(str(Path(__file__).parents[2] / "tools/shrink_checkpoint.py"))[
    "shrink_checkpoint"
]


def checkpoint(**weights):
    meta = dict(dataset_meta=dict(num_keypoints=3), epoch=7, seed=5, cfg="work_dir='/home/me'")
    return dict(state_dict=weights, meta=meta, optimizer={}, message_hub={})


def test_what_is_kept():
    weight = torch.randn(3, 4).t()
    found = shrink(
        checkpoint(
            weight=weight,
            steps=torch.tensor(2**40),
            **{
                "head.loss_weighting.history": torch.ones(2, 2),
                "head.segmentation_loss.auto_weight.num_steps": torch.tensor(3),
            },
        )
    )
    assert set(found) == {"state_dict", "meta"}
    assert found["meta"] == dict(dataset_meta=dict(num_keypoints=3), epoch=7, seed=5)
    assert set(found["state_dict"]) == {"weight", "steps"}
    assert found["state_dict"]["weight"].dtype == torch.float16
    torch.testing.assert_close(found["state_dict"]["weight"].float(), weight, rtol=1e-3, atol=1e-4)
    assert found["state_dict"]["steps"] == 2**40


def test_a_weight_that_float16_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="weight holds values up to 70000"):
        shrink(checkpoint(weight=torch.tensor([7e4])))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: dict(model=weights),
        lambda weights: dict(net=weights, epoch=3, optimizer=dict(state={}, param_groups=[])),
        lambda weights: dict(state_dict={f"module.{k}": v for k, v in weights.items()}),
    ],
    ids=["bare", "another key", "beside others", "distributed"],
)
def test_weights_saved_in_other_ways(wrap):
    weights = {"layer.weight": torch.ones(2, 3), "layer.bias": torch.zeros(2)}
    found = shrink(wrap(weights))
    assert found["meta"] == {} and found["state_dict"].keys() == weights.keys()
    assert all(value.dtype == torch.float16 for value in found["state_dict"].values())


@pytest.mark.parametrize(
    "checkpoint, count",
    [
        (dict(epoch=3), 0),
        ({}, 0),
        (dict(model=dict(a=torch.ones(1)), ema=dict(a=torch.ones(1))), 2),
    ],
)
def test_weights_that_are_not_there_once(checkpoint, count):
    with pytest.raises(ValueError, match=f"holds {count} sets of weights, one is needed"):
        shrink(checkpoint)

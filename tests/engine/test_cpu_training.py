# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import torch
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from sgpose.engine import ChannelsLastHook


def test_forward_runs_in_bfloat16_and_the_weights_stay_float32():
    model = nn.Conv2d(3, 4, 3)
    before = model.weight.detach().clone()
    wrapper = OPTIM_WRAPPERS.build(
        dict(type="BFloat16CPUOptimWrapper", optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    )
    x = torch.randn(2, 3, 8, 8)
    with wrapper.optim_context(model):
        y = model(x)
    assert y.dtype == torch.bfloat16
    wrapper.update_params(y.float().square().mean())
    assert model.weight.dtype == torch.float32 and not torch.equal(model.weight, before)
    with torch.no_grad():
        assert model(x).dtype == torch.float32, "outside of the step nothing is cast"


def test_channels_last_changes_the_layout_and_not_the_values():
    class Runner:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3))

    x = torch.randn(2, 3, 9, 9)
    expected, weight = Runner.model(x), Runner.model[0].weight
    ChannelsLastHook().before_run(Runner)
    assert Runner.model[0].weight is weight, "an optimizer that is built keeps its parameters"
    assert weight.is_contiguous(memory_format=torch.channels_last)
    found = Runner.model(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)

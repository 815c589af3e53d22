# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import copy
import pickle

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpose.models.layers import (
    GuidedFeatures,
    GuideModulation,
    MultiResolutionGuide,
    SegmentationGuidedModule,
    build_guides,
    check_guide_op,
    conv_by_shifts,
    guide_features,
)


def two_convolutions(module, x):
    """Convolve twice, as the paper writes it."""
    y = F.conv2d(x, module.conv.weight, module.conv.bias, padding=1)
    return F.conv2d(y, module.proj.weight[..., None, None], module.proj.bias)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**31 - 1))
def test_module_equals_the_two_convolutions(channels, height, width, seed):
    torch.manual_seed(seed)
    module = SegmentationGuidedModule(channels, init_bias=-0.5).double()
    torch.nn.init.normal_(module.conv.bias)
    x = torch.randn(2, channels, height, width, dtype=torch.float64)
    expected = two_convolutions(module, x)
    assert module(x).shape == (2, 1, height, width)
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(module.fold()(x), expected, rtol=1e-10, atol=1e-12)


def test_gradients_equal_those_of_the_two_convolutions():
    module = SegmentationGuidedModule(5).double()
    x = torch.randn(2, 5, 6, 4, dtype=torch.float64)
    ours = torch.autograd.grad(module(x).square().sum(), list(module.parameters()))
    theirs = torch.autograd.grad(
        two_convolutions(module, x).square().sum(), list(module.parameters())
    )
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b)
        assert a.abs().sum() > 0


def test_folding_keeps_only_the_composed_kernel_and_can_be_repeated():
    module = SegmentationGuidedModule(32)
    assert sum(p.numel() for p in module.parameters()) == 32 * 32 * 9 + 32 + 32 + 1
    folded = module.fold().fold()
    assert folded is module and module.folded
    assert {k: tuple(v.shape) for k, v in module.state_dict().items()} == {
        "weight": (1, 32, 3, 3),
        "bias": (1,),
    }


def test_init_bias_is_the_mean_logit_at_the_start():
    logits = SegmentationGuidedModule(8, init_bias=-5.0)(torch.randn(64, 8, 9, 9))
    assert logits.mean().item() == pytest.approx(-5.0, abs=0.1)


def test_building_guides_leaves_the_random_state_but_not_the_guides_alike():
    before = torch.random.get_rng_state()
    guides = build_guides({"a": 4, "b": 4})
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(guides["a"].conv.weight, guides["b"].conv.weight)


def test_guide_ops():
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    logits = torch.randn(2, 1, 4, 5, dtype=torch.float64)
    s = 1 / (1 + (-logits).exp())
    torch.testing.assert_close(guide_features(features, logits, "multiply"), s * features)
    torch.testing.assert_close(guide_features(features, logits, "residual"), (1 + s) * features)
    assert guide_features(features, logits, "none") is features
    with pytest.raises(ValueError, match="op must be 'multiply', 'residual' or 'none', got 'add'"):
        guide_features(features, logits, "add")
    with pytest.raises(ValueError, match="guide_op must be one of.*'add'"):
        check_guide_op("add")


@pytest.mark.parametrize("op", ["multiply", "residual"])
def test_gradient_reaches_the_map_unless_detached(op):
    features = torch.randn(1, 3, 2, 2, requires_grad=True)
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    guide_features(features, logits, op).sum().backward()
    # d sigmoid / d logit at 0 is 1/4
    torch.testing.assert_close(logits.grad, features.detach().sum(1, keepdim=True) / 4)
    logits.grad = None
    guide_features(features, logits, op, detach=True).sum().backward()
    assert logits.grad is None


def test_guided_features_are_a_tuple_with_logits():
    maps = [torch.randn(1, 2, 3, 3), torch.randn(1, 4, 2, 2)]
    features = GuidedFeatures(maps, [torch.zeros(1, 1, 3, 3)])
    assert isinstance(features, tuple) and len(features) == 2 and features[-1] is maps[1]
    for clone in (copy.deepcopy(features), pickle.loads(pickle.dumps(features))):
        assert isinstance(clone, GuidedFeatures)
        assert torch.equal(clone[0], maps[0])
        assert torch.equal(clone.segmentation_logits[0], torch.zeros(1, 1, 3, 3))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**31 - 1))
def test_convolution_by_shifts_is_the_convolution(channels, height, width, seed):
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64).requires_grad_()

    inputs = draw(2, channels, height, width), draw(1, channels, 3, 3), draw(1)
    ours, theirs = conv_by_shifts(*inputs), F.conv2d(*inputs, padding=1)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    upstream = torch.randn(ours.shape, generator=g, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(theirs, inputs, upstream)
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_map_of_a_training_step_is_that_of_evaluation(memory_format):
    module, x = SegmentationGuidedModule(16), torch.randn(2, 16, 8, 6)
    x = x.to(memory_format=memory_format)
    with torch.no_grad():
        evaluated = module(x)
    torch.testing.assert_close(module(x).detach(), evaluated, rtol=0, atol=1e-5)


def test_guides_are_built_as_asked_for():
    guides = build_guides({"one": 4, "several": [4, 6]})
    assert type(guides["one"]) is SegmentationGuidedModule
    assert type(guides["several"]) is MultiResolutionGuide and len(guides["several"]) == 2
    assert guides["one"].num_maps == 1 and guides["one"].proj.bias.tolist() == [0]
    guides = build_guides({"one": 4, "several": [4, 6]}, init_bias=-2.0, num_maps=3)
    assert guides["one"].proj.bias.tolist() == [-2] * 3
    # the biases of a sum add up: the first one's alone is the start's
    assert [g.proj.bias.tolist() for g in guides["several"]] == [[-2] * 3, [0] * 3]


def test_a_guide_of_several_resolutions_starts_with_one_map_near_a_half():
    guide = MultiResolutionGuide([4, 6])
    assert [g.proj.bias.tolist() for g in guide] == [[0], [0]]


def test_one_guide_of_several_resolutions_is_the_sum_of_the_enlarged():
    guide = MultiResolutionGuide((2, 3), num_maps=2).double()
    x = [torch.randn(1, 2, 8, 6).double(), torch.randn(1, 3, 4, 3).double()]
    small = two_convolutions(guide[1], x[1])
    maps = small[0].detach().numpy()
    enlarged = torch.from_numpy(np.stack([cv2.resize(m, (6, 8)) for m in maps]))
    torch.testing.assert_close(guide(x)[0], two_convolutions(guide[0], x[0])[0] + enlarged)


def test_modulation_starts_as_identity_and_scales_and_shifts():
    modulation = GuideModulation(3, 2)
    x, logits = torch.randn(2, 3, 4, 5), torch.randn(2, 2, 4, 5)
    assert torch.equal(modulation(x, logits), x)
    with torch.no_grad():
        modulation.scale.normal_()
        modulation.shift.normal_()
    maps = logits.sigmoid()
    scale, shift = (
        torch.einsum("cm,bmhw->bchw", weight[..., 0, 0], maps)
        for weight in (modulation.scale, modulation.shift)
    )
    torch.testing.assert_close(modulation(x, logits), x * (1 + scale) + shift)


@pytest.mark.parametrize("op", ["multiply", "residual", "modulate", "none"])
@pytest.mark.parametrize("num_maps", [0, 1, 2, 3])
def test_operations_take_the_maps_that_they_can_use(op, num_maps):
    check_guide_op(op)
    if num_maps == 1 or (num_maps and op in ("modulate", "none")):
        check_guide_op(op, num_maps)
        return
    with pytest.raises(ValueError, match=f"got (num_maps=)?{num_maps}"):
        check_guide_op(op, num_maps)


def test_folded_and_unfolded_weights_are_not_mixed():
    whole, folded = SegmentationGuidedModule(3), SegmentationGuidedModule(3).fold()
    with pytest.raises(ValueError, match="fold_guides folded, the model is not"):
        torch.nn.ModuleDict(dict(guide=whole)).load_state_dict(
            torch.nn.ModuleDict(dict(guide=folded)).state_dict()
        )
    with pytest.raises(ValueError, match="^guide: the model is folded, the weights are not"):
        torch.nn.ModuleDict(dict(guide=folded)).load_state_dict(
            torch.nn.ModuleDict(dict(guide=whole)).state_dict()
        )
    twin = SegmentationGuidedModule(3)
    twin.load_state_dict(whole.state_dict())
    assert torch.equal(twin.conv.weight, whole.conv.weight)
    other = SegmentationGuidedModule(3).fold()
    other.load_state_dict(folded.state_dict())
    assert torch.equal(other.weight, folded.weight)
    missing = torch.nn.ModuleDict(dict(guide=whole)).load_state_dict({}, strict=False)
    assert len(missing.missing_keys) == 4


def test_kernels_start_as_pytorchs_convolutions():
    torch.manual_seed(5)
    module = SegmentationGuidedModule(8)
    torch.manual_seed(5)
    assert torch.equal(module.conv.weight, torch.nn.Conv2d(8, 8, 3, bias=False).weight)
    assert module.proj.bias.tolist() == [0] and module.channels == 8

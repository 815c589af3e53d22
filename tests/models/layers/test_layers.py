# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpose.models.layers import GuidedFeatures, SegmentationGuidedModule, build_guides


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
    assert module.predict(x).shape == (2, 1, height, width)
    torch.testing.assert_close(module.predict(x), expected, rtol=1e-10, atol=1e-12)
    module.fold()
    torch.testing.assert_close(module.predict(x), expected, rtol=1e-10, atol=1e-12)


def test_counters_of_operations_get_no_product_of_vectors():
    """fvcore counts aten::matmul, and fails where one side has a single dimension."""
    module = SegmentationGuidedModule(4)
    features = torch.zeros(1, 4, 3, 3)
    graph, _ = torch.jit._get_trace_graph(module, (features, features))  # as fvcore does
    products = graph.findAllNodes("aten::matmul")
    sizes = [len(value.type().sizes()) for node in products for value in node.inputs()]
    assert sizes == [2, 2]


def test_gradients_equal_those_of_the_two_convolutions():
    module = SegmentationGuidedModule(5).double()
    x = torch.randn(2, 5, 6, 4, dtype=torch.float64)
    ours = torch.autograd.grad(module.predict(x).square().sum(), list(module.parameters()))
    theirs = torch.autograd.grad(
        two_convolutions(module, x).square().sum(), list(module.parameters())
    )
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b)
        assert a.abs().sum() > 0


def test_folding_keeps_only_the_composed_kernel_and_can_be_repeated():
    module = SegmentationGuidedModule(32)
    assert sum(p.numel() for p in module.parameters()) == 32 * 32 * 9 + 32 + 32 + 1
    module.fold()
    module.fold()
    assert module.folded
    assert {k: tuple(v.shape) for k, v in module.state_dict().items()} == {
        "weight": (1, 32, 3, 3),
        "bias": (1,),
    }


def test_init_bias_is_the_mean_logit_at_the_start():
    logits = SegmentationGuidedModule(8, init_bias=-5.0).predict(torch.randn(64, 8, 9, 9))
    assert logits.mean().item() == pytest.approx(-5.0, abs=0.1)


def test_building_guides_leaves_the_random_state_but_not_the_guides_alike():
    before = torch.random.get_rng_state()
    guides = build_guides({"a": 4, "b": 4})
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(guides["a"].conv.weight, guides["b"].conv.weight)


def test_guide_ops():
    x, source = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    for op, gated in (
        ("multiply", lambda x, s: s * x),
        ("residual", lambda x, s: (1 + s) * x),
        ("none", lambda x, s: x),
    ):
        guide = SegmentationGuidedModule(3, op).double()
        found, logits = guide(x, source)
        torch.testing.assert_close(logits, two_convolutions(guide, source))
        torch.testing.assert_close(found, gated(x, 1 / (1 + (-logits).exp())))
    with pytest.raises(ValueError, match="guide_op must be one of.*'multiply'.*'add'"):
        SegmentationGuidedModule(3, "add")


@pytest.mark.parametrize("op", ["multiply", "residual"])
def test_gradient_reaches_the_map_unless_detached(op):
    features = torch.randn(1, 3, 2, 2, requires_grad=True)
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    SegmentationGuidedModule(3, op).gate(features, logits).sum().backward()
    # d sigmoid / d logit at 0 is 1/4
    torch.testing.assert_close(logits.grad, features.detach().sum(1, keepdim=True) / 4)
    logits.grad = None
    SegmentationGuidedModule(3, op, detach=True).gate(features, logits).sum().backward()
    assert logits.grad is None


def test_guided_features_are_a_tuple_with_logits():
    maps = [torch.randn(1, 2, 3, 3), torch.randn(1, 4, 2, 2)]
    features = GuidedFeatures(maps, [torch.zeros(1, 1, 3, 3)])
    assert isinstance(features, tuple) and len(features) == 2 and features[-1] is maps[1]
    for clone in (copy.deepcopy(features), pickle.loads(pickle.dumps(features))):
        assert isinstance(clone, GuidedFeatures)
        assert torch.equal(clone[0], maps[0])
        assert torch.equal(clone.segmentation_logits[0], torch.zeros(1, 1, 3, 3))


def test_code_that_rebuilds_tuples_gets_the_features():
    """As DataParallel's gather, FSDP and MMEngine's cast_data do."""
    features = GuidedFeatures([torch.ones(1, 2, 3, 3)], [torch.zeros(1, 1, 3, 3)])
    rebuilt = type(features)(x * 2 for x in features)
    assert isinstance(rebuilt, GuidedFeatures) and rebuilt.segmentation_logits == ()
    assert torch.equal(rebuilt[0], torch.full((1, 2, 3, 3), 2.0))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_map_of_a_training_step_is_that_of_evaluation(memory_format):
    module, x = SegmentationGuidedModule(16), torch.randn(2, 16, 8, 6)
    x = x.to(memory_format=memory_format)
    with torch.no_grad():
        evaluated = module.predict(x)
    torch.testing.assert_close(module.predict(x).detach(), evaluated, rtol=0, atol=1e-5)


def test_guides_are_built_as_asked_for():
    guides = build_guides({"a": 4, "b": 6}, op="residual", init_bias=-2.0, detach=True)
    assert [len(g.conv.weight) for g in guides.values()] == [4, 6]
    for guide in guides.values():
        assert (guide.op, guide.detach, guide.proj.bias.tolist()) == ("residual", True, [-2])


def test_folded_and_unfolded_weights_are_not_mixed():
    whole, folded, other = (SegmentationGuidedModule(3) for _ in range(3))
    folded.fold()
    other.fold()
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
    other.load_state_dict(folded.state_dict())
    assert torch.equal(other.weight, folded.weight)
    missing = torch.nn.ModuleDict(dict(guide=whole)).load_state_dict({}, strict=False)
    assert len(missing.missing_keys) == 4


def test_kernels_start_as_pytorchs_convolutions():
    torch.manual_seed(5)
    module = SegmentationGuidedModule(8)
    torch.manual_seed(5)
    assert torch.equal(module.conv.weight, torch.nn.Conv2d(8, 8, 3, bias=False).weight)
    assert module.proj.bias.tolist() == [0]

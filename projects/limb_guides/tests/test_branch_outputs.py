# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""HRNet with several maps per guide, seen from all resolutions, that modulate the features."""

import copy

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpose.models.backbones.hrnet import HRNet
from mmpose.registry import MODELS

from projects.limb_guides import GuideModulation, MultiResolutionGuide

LIMBS = dict(num_maps=3, guide_init_bias=-3.0)


def build(type, extra, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(dict(type=type, extra=copy.deepcopy(extra), **kwargs))
    model.init_weights()
    for name, parameter in model.named_parameters():
        if "guides" not in name and "modulations" not in name:
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
    model.eval()
    return model


def two_convolutions(guide, x):
    y = F.conv2d(x, guide.conv.weight, guide.conv.bias, padding=1)
    return F.conv2d(y, guide.proj.weight[..., None, None], guide.proj.bias)


def reference(model, x):
    """Modulate by hooks on a plain HRNet's forward, written independently of the class."""
    logits, handles = [], []

    def predict(name):
        def hook(modules, args):
            sources = args[0]
            size = sources[0].shape[-2:]
            logits.append(
                sum(
                    F.interpolate(two_convolutions(g, s), size, mode="bilinear")
                    for g, s in zip(model.guides[name], sources)
                )
            )

        return hook

    def modulated(name, features):
        s = torch.sigmoid(logits[-1])
        scale, shift = (p[:, :, 0, 0] for p in model.modulations[name].parameters())
        scaled = features * (1 + torch.einsum("cm,bmhw->bchw", scale, s))
        return scaled + torch.einsum("cm,bmhw->bchw", shift, s)

    for stage in (2, 3, 4):
        name = f"stage{stage}"
        modules = getattr(model, name)
        handles.append(modules.register_forward_pre_hook(predict(name)))
        handles.append(
            modules[-1]
            .branches[0]
            .register_forward_hook(lambda m, args, out, name=name: modulated(name, out))
        )
    features = list(HRNet.forward(model, x))
    for handle in handles:
        handle.remove()
    predict("out")(None, [features])
    features[0] = modulated("out", features[0])
    return features, logits


@pytest.mark.parametrize("multiscale", [False, True])
def test_forward_equals_hrnet_with_hooks(small_extra, multiscale):
    small_extra["stage4"]["multiscale_output"] = multiscale
    model = build("LimbGuidedHRNet", small_extra, **LIMBS)
    for modulation in model.modulations.values():
        for parameter in modulation.parameters():
            torch.nn.init.normal_(parameter)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found, (features, logits) = model(x), reference(model, x)
    assert [tuple(x.shape) for x in found.segmentation_logits] == [(2, 3, 16, 16)] * 4
    assert len(found) == len(features) == (4 if multiscale else 1)
    for ours, theirs in zip((*found, *found.segmentation_logits), (*features, *logits)):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_it_starts_as_hrnet_bit_for_bit(small_extra):
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        plain, guided = (
            build("HRNet", small_extra)(x),
            build("LimbGuidedHRNet", small_extra, **LIMBS)(x),
        )
    assert all(torch.equal(a, b) for a, b in zip(plain, guided))


def test_training_moves_maps_and_modulation(small_extra):
    model = build("LimbGuidedHRNet", small_extra, **LIMBS).train()
    features = model(torch.randn(2, 3, 64, 64))
    loss = features[0].square().mean() + sum(x.mean() for x in features.segmentation_logits)
    loss.backward()
    for name, parameter in (
        *model.guides.named_parameters(),
        *model.modulations.named_parameters(),
    ):
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(num_maps=3, guide_op="residual"), "guide_op must be one of"),
        (dict(num_maps=0), "num_maps must be a positive number of maps, got 0"),
    ],
)
def test_maps_that_an_operation_cannot_take(small_extra, arguments, message):
    with pytest.raises(ValueError, match=message):
        build("LimbGuidedHRNet", small_extra, **arguments)


def test_a_guide_of_several_resolutions_starts_with_one_map_near_a_half():
    guide = MultiResolutionGuide([4, 6], num_maps=1)
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

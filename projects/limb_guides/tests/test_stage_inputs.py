# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""HRNet whose maps modulate the inputs of the stages at all resolutions."""

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmpose.models.backbones.hrnet import HRNet
from mmpose.registry import MODELS

from sgpose.deploy import fold_guides
from sgpose.deploy.folding import fuse_layers

CONFIGS = Path(__file__).parents[1] / "configs"
LIMBS = dict(guide_target="stage_inputs", num_maps=3)


def build(type, extra, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(dict(type=type, extra=copy.deepcopy(extra), **kwargs))
    model.init_weights()
    for name, parameter in model.named_parameters():
        if "guides" not in name:
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return model.eval()


def two_convolutions(guide, x):
    y = F.conv2d(x, guide.conv.weight, guide.conv.bias, padding=guide.conv.weight.shape[-1] // 2)
    return F.conv2d(y, guide.proj.weight[..., None, None], guide.proj.bias)


def reference(model, x, module):
    """HRNet's own forward with hooks on its modules, written independently of the class."""
    logits, handles = {}, []

    def predict(name, sources):
        guides = model.guides[name]
        size = sources[0].shape[-2:]
        maps = [two_convolutions(g, s) for g, s in zip(guides, sources)]
        return sum(F.interpolate(m, size, mode="bilinear") for m in maps)

    def weight(name, i, features):
        s = torch.sigmoid(F.interpolate(logits[name], features.shape[-2:], mode="bilinear"))
        scale, shift = (p[:, :, 0, 0] for p in model.modulations[name][i].parameters())
        scaled = features * (1 + torch.einsum("cm,bmhw->bchw", scale, s))
        return scaled + torch.einsum("cm,bmhw->bchw", shift, s)

    for name in ("stage2", "stage3", "stage4"):
        modules = getattr(model, name)

        def remember(modules, args, name=name):
            logits[name] = predict(name, args[0])

        def act(module, args, name=name):
            return ([weight(name, i, y) for i, y in enumerate(args[0])],)

        handles.append(modules.register_forward_pre_hook(remember))
        acting = {"last": modules[-1:], "first": modules[:1]}[module]
        handles += [m.register_forward_pre_hook(act) for m in acting]
    features = list(HRNet.forward(model, x))
    for handle in handles:
        handle.remove()
    return features, [*logits.values(), predict("out", features)]


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("module", ["last", "first"])
@pytest.mark.parametrize("size", [(64, 64), (96, 64)], ids=str)
def test_forward_equals_the_hooked_hrnet(small_extra, module, kernel, size):
    small_extra["stage4"]["multiscale_output"] = True
    model = build(
        "LimbGuidedHRNet", small_extra, guide_module=module, guide_kernel_size=kernel, **LIMBS
    )
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        found = model(x)
        features, logits = reference(model, x, module)
    assert found[0].abs().max() > 1e-3
    for ours, theirs in zip((*found, *found.segmentation_logits), (*features, *logits)):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert len(found.segmentation_logits) == 4


def test_folded_it_predicts_the_same_without_the_outputs_guide(small_extra):
    model = build("LimbGuidedHRNet", small_extra, **LIMBS)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        folded = fold_guides(copy.deepcopy(model))
        found = folded(x)
    assert type(found) is tuple
    assert list(folded.guides) == ["stage2", "stage3", "stage4"]
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_only_supervised_it_costs_nothing_once_folded(small_extra):
    model = build("LimbGuidedHRNet", small_extra, **dict(LIMBS, guide_op="none"))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        folded = fold_guides(model)
        found = folded(x)
    assert len(expected.segmentation_logits) == 4
    assert not folded.guides
    torch.testing.assert_close(found[0], expected[0], rtol=1e-3, atol=1e-4)


def test_training_moves_every_guide_and_modulation(small_extra):
    model = build("LimbGuidedHRNet", small_extra, **LIMBS).train()
    features = model(torch.randn(2, 3, 64, 64))
    loss = features[0].square().mean() + sum(x.mean() for x in features.segmentation_logits)
    loss.backward()
    named = [*model.guides.named_parameters(), *model.modulations.named_parameters()]
    assert len(named) == 2 * 2 * (2 + 3 + 4 + 1) + 2 * (2 + 3 + 4)
    for name, parameter in named:
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(guide_target="input"), "guide_target must be one of"),
        (dict(guide_kernel_size=5), "guide_kernel_size must be 1 or 3, got 5"),
        (dict(guide_module="all"), "guide_module must be one of"),
    ],
)
def test_bad_options(small_extra, arguments, message):
    with pytest.raises(ValueError, match=message):
        build("LimbGuidedHRNet", small_extra, **dict(LIMBS, **arguments))


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("td-hm_limb-guided-hrnet-w32_8xb64-210e_coco-256x192.py", 1.003),
        ("td-hm_limb-guided-hrnet-w16_1xb32-60e_lspet-128x96.py", 1.015),
    ],
)
def test_the_preset_costs_hardly_more_than_hrnet(name, most):
    cfg = dict(Config.fromfile(CONFIGS / name).model.backbone, init_cfg=None)
    plain = MODELS.build(dict(type="HRNet", in_channels=3, extra=cfg["extra"]))
    guided = MODELS.build(cfg)
    for backbone in (plain, guided):
        backbone.eval()  # HRNet's returns None
    hrnet, ours = (
        get_model_complexity_info(model, (3, 64, 64), show_table=False, show_arch=False)["flops"]
        for model in (fuse_layers(plain), fold_guides(guided))
    )
    assert 1 < ours / hrnet < most

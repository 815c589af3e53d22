# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import copy
import logging

import numpy as np
import pytest
import torch
from deployed_models import PLAIN, TOY, random_model, small_config
from mmcv.cnn import fuse_conv_bn
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint
from mmpose.apis import inference_topdown, init_model
from mmpose.registry import MODELS
from torch import nn

from sgpose.deploy import fold_guides
from sgpose.deploy.folding import fuse_layers
from sgpose.models import GuidedFeatures, SegmentationGuidedModule

BATCH_NORM = nn.modules.batchnorm._BatchNorm


def backbone_config() -> Config:
    """A ResNet guided at its last output, with a neck that carries the maps through."""
    cfg = small_config("plain")
    cfg.model.backbone = dict(
        type="SGBackbone",
        backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8),
    )
    neck = dict(type="FPN", in_channels=[64], out_channels=8, num_outs=1, norm_cfg=dict(type="BN"))
    cfg.model.neck = dict(type="GuidedNeck", neck=neck)
    cfg.model.head.deconv_out_channels = (8, 8, 8)
    cfg.model.head.deconv_kernel_sizes = (4, 4, 4)
    return cfg


CONFIGS = {"SGHRNet": lambda: small_config("plain"), "SGBackbone": backbone_config}


@pytest.fixture(params=CONFIGS)
def model(request):
    return random_model(CONFIGS[request.param]())


def predict(model, image, flip_test, output_heatmaps):
    model.test_cfg = dict(model.test_cfg, flip_test=flip_test, output_heatmaps=output_heatmaps)
    (sample,) = inference_topdown(model, image, [[10, 20, 100, 150]])
    return sample


@pytest.mark.parametrize("flip_test", [False, True])
def test_a_folded_model_predicts_the_same(model, picture, flip_test):
    before = predict(copy.deepcopy(model), picture, flip_test, True)
    assert fold_guides(model) is model
    for output_heatmaps in (False, True):
        after = predict(model, picture, flip_test, output_heatmaps)
        for name, tolerance in (("keypoints", 1e-3), ("keypoint_scores", 1e-5)):
            np.testing.assert_allclose(
                after.pred_instances[name], before.pred_instances[name], rtol=0, atol=tolerance
            )
        assert "guide_maps" not in after.pred_instances
    torch.testing.assert_close(
        after.pred_fields.heatmaps, before.pred_fields.heatmaps, rtol=0, atol=1e-5
    )
    assert "guide_maps" in before.pred_instances


def test_only_the_composed_kernels_are_left(model):
    guides = [m for m in model.modules() if isinstance(m, SegmentationGuidedModule)]
    kernels = [[p.detach().clone() for p in guide.kernel()] for guide in guides]
    fold_guides(model)
    assert guides
    for guide, (weight, bias) in zip(guides, kernels):
        assert set(dict(guide.named_parameters())) == {"weight", "bias"}
        torch.testing.assert_close(guide.weight, weight)
        torch.testing.assert_close(guide.bias, bias)
    left = [name for name, m in model.named_modules() if isinstance(m, BATCH_NORM)]
    assert all("deconv" in name for name in left), left
    with torch.no_grad():
        features = model.extract_feat(torch.zeros(1, 3, 128, 96))
    assert not isinstance(features, GuidedFeatures) and isinstance(features, (tuple, list))


@pytest.mark.parametrize("make", CONFIGS.values(), ids=CONFIGS)
def test_torch_compile_sees_a_folded_network_as_one_graph(make):
    model = fold_guides(random_model(make()))
    network = nn.Sequential(*(getattr(model, n) for n in ("backbone", "neck") if hasattr(model, n)))
    x = torch.randn(1, 3, 128, 96, generator=torch.Generator().manual_seed(0))
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(network, backend="eager", fullgraph=True)(x)
        assert all(map(torch.equal, compiled, network(x)))


def test_folding_again_changes_nothing(model):
    before = {k: v.clone() for k, v in fold_guides(model).state_dict().items()}
    after = fold_guides(model).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_folded_state_dict_loads_into_a_folded_model_alone(name, picture, tmp_path):
    cfg = CONFIGS[name]()
    model = random_model(Config(cfg.to_dict()))
    unfolded = tmp_path / "unfolded.pth"
    torch.save(model.state_dict(), unfolded)
    expected = predict(fold_guides(model), picture, True, False)
    folded = tmp_path / "folded.pth"
    torch.save(model.state_dict(), folded)

    fresh = init_model(Config(cfg.to_dict()), device="cpu")
    with pytest.raises(ValueError, match=r"folded, the model is not: load them with load_check"):
        load_checkpoint(fresh, str(folded), map_location="cpu")
    fresh = fold_guides(init_model(Config(cfg.to_dict()), device="cpu"))
    with pytest.raises(ValueError, match=r"the weights are not: load them first"):
        load_checkpoint(fresh, str(unfolded), map_location="cpu")
    load_checkpoint(fresh, str(folded), map_location="cpu", strict=True)
    found = predict(fresh, picture, True, False)
    np.testing.assert_array_equal(found.pred_instances.keypoints, expected.pred_instances.keypoints)


def test_a_backbone_whose_maps_guide_nothing_is_run_alone():
    resnet = dict(type="ResNet", depth=18, stem_channels=8, base_channels=8)
    backbone = MODELS.build(dict(type="SGBackbone", backbone=resnet, guide_op="none")).eval()
    x, calls = torch.randn(1, 3, 64, 64), []
    with torch.no_grad():
        expected = backbone(x)
        folded = fold_guides(backbone)
        for guide in folded.guides.values():
            guide.register_forward_hook(lambda *given: calls.append(given))
        found = folded(x)
    assert len(expected.segmentation_logits) == 1
    assert type(found) is tuple and not calls
    torch.testing.assert_close(found, tuple(expected), rtol=1e-3, atol=1e-4)


def test_a_part_of_a_model_can_be_folded():
    model = random_model(small_config())
    backbone = copy.deepcopy(model.backbone)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = backbone(image)
        (found,) = fold_guides(backbone)(image)
    torch.testing.assert_close(found, expected[0], rtol=1e-4, atol=1e-5)


def test_a_head_for_one_size_is_tried_at_that_size():
    model = fold_guides(random_model(small_config("simcc")))
    assert not [m for m in model.backbone.modules() if isinstance(m, BATCH_NORM)]


def test_models_without_guides_or_in_training_are_refused():
    with pytest.raises(ValueError, match="has no guides to fold"):
        fold_guides(random_model(small_config(config=PLAIN)))
    model = random_model(small_config())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.backbone.stage4.train()
    with pytest.raises(ValueError, match=r"training mode \(backbone.stage4\).*model.eval"):
        fold_guides(model)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


class PreActivation(nn.Module):
    """A batch normalisation that is registered behind a convolution but runs before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x):
        return self.conv(self.norm(x).relu())


def test_batch_normalisations_that_do_not_follow_their_convolution_stay(caplog):
    MMLogger.get_instance("mmengine").propagate = True
    model = PreActivation().eval()
    image = torch.randn(1, 3, 8, 8)
    expected = model(image)
    with caplog.at_level(logging.WARNING):
        fuse_layers(model)
    MMLogger.get_instance("mmengine").propagate = False
    assert isinstance(model.norm, nn.BatchNorm2d)
    torch.testing.assert_close(model(image), expected)


@pytest.mark.slow
def test_parameters_and_flops_are_those_of_the_plain_network():
    w32 = Config.fromfile(TOY).model.backbone
    w32.extra.stage1.update(num_blocks=(4,), num_channels=(64,))
    for name, modules in (("stage2", 1), ("stage3", 4), ("stage4", 3)):
        branches = w32.extra[name].num_branches
        w32.extra[name].update(
            num_modules=modules,
            num_blocks=(4,) * branches,
            num_channels=tuple(32 * 2**i for i in range(branches)),
        )
    backbones = [MODELS.build(dict(w32, type=kind)) for kind in ("SGHRNet", "HRNet")]
    for backbone in backbones:
        backbone.eval()  # HRNet's returns None
    guided, plain = (
        get_model_complexity_info(fold(backbone), (3, 64, 64), show_table=False, show_arch=False)
        for fold, backbone in zip((fold_guides, fuse_conv_bn), backbones)
    )
    assert 28e6 < plain["params"] < 29e6
    for name in ("params", "flops"):
        assert 0 < guided[name] - plain[name] < 1e-3 * plain[name], name

# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import copy
import pickle

import pytest
import torch
from mmengine.hub import get_config
from mmengine.model import BaseModule
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from mmpose.engine.optim_wrappers.layer_decay_optim_wrapper import (
    LayerDecayOptimWrapperConstructor,
)
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import nn

from sgpose.models import GuidedFeatures, GuidedOutputs

SHAPE = (64, 32)
VITPOSE = (
    "mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_ViTPose-small_8xb64-210e_coco-256x192.py"
)


def stage(branches, block="HRFORMERBLOCK"):
    transformer = block == "HRFORMERBLOCK"
    return dict(
        num_modules=1,
        num_branches=branches,
        block=block,
        num_blocks=(1,) * branches,
        num_channels=tuple(8 * 2**i for i in range(branches)),
        num_heads=[1] * branches,
        mlp_ratios=[2] * branches,
        **(dict(window_sizes=[7] * branches) if transformer else {}),
    )


HRFORMER = dict(
    drop_path_rate=0.1,
    with_rpe=True,
    stage1=stage(1, "BOTTLENECK"),
    stage2=stage(2),
    stage3=stage(3),
    stage4=stage(4),
)
LITEHRNET = dict(
    stem=dict(stem_channels=16, out_channels=16, expand_ratio=1),
    num_stages=2,
    stages_spec=dict(
        num_modules=(1, 1),
        num_branches=(2, 3),
        num_blocks=(1, 1),
        module_type=("LITE", "LITE"),
        with_fuse=(True, True),
        reduce_ratios=(8, 8),
        num_channels=((16, 32), (16, 32, 64)),
    ),
    with_head=True,
)

# Backbone, guided outputs, and (channels, stride) of each of its outputs.
BACKBONES = {
    "ResNet": (
        dict(depth=50, base_channels=8, stem_channels=8, out_indices=(1, 3)),
        (-1,),
        [(64, 8), (256, 32)],
    ),
    "MobileNetV2": (dict(widen_factor=0.25, out_indices=(7,)), (0,), [(1280, 32)]),
    "LiteHRNet": (dict(extra=LITEHRNET), (-1,), [(16, 4)]),
    "HRFormer": (dict(extra=HRFORMER), (-1,), [(8, 4)]),
    "SwinTransformer": (
        dict(embed_dims=8, depths=[1] * 4, num_heads=[1] * 4),
        (3, 0, -2),
        [(8, 4), (16, 8), (32, 16), (64, 32)],
    ),
    "PyramidVisionTransformerV2": (
        dict(embed_dims=8, num_layers=[1] * 4),
        (-1, -2),
        [(8, 4), (16, 8), (40, 16), (64, 32)],
    ),
    "CSPNeXt": (
        dict(widen_factor=0.125, deepen_factor=0.33),
        (0, 1, 2),
        [(32, 8), (64, 16), (128, 32)],
    ),
}


def build(cfg, seed=0):
    torch.manual_seed(seed)
    model = MODELS.build(copy.deepcopy(cfg))
    model.init_weights()
    return model


def guided(backbone, **kwargs):
    return dict(type="SGBackbone", backbone=backbone, **kwargs)


RESNET = dict(type="ResNet", depth=18, base_channels=8, stem_channels=8, out_indices=(0, 1))


def plain_outputs(model, x):
    """What the backbone returns without its guides."""
    outputs = super(GuidedOutputs, model).forward(x)
    return (outputs,) if isinstance(outputs, torch.Tensor) else outputs


def image(batch=2):
    return torch.randn(batch, 3, *SHAPE)


@pytest.mark.parametrize("name", BACKBONES)
def test_any_backbone_is_guided(name):
    arguments, indices, outputs = BACKBONES[name]
    plain_cfg = dict(type=name, **arguments)
    model = build(guided(plain_cfg, guide_indices=indices))
    chosen = sorted(i % len(outputs) for i in indices)
    model.eval()
    x = image()
    with torch.no_grad():
        plain = plain_outputs(model, x)
        output = model(x)
    assert isinstance(output, GuidedFeatures) and len(output) == len(outputs)
    assert [len(g.conv.weight) for g in model.guides.values()] == [outputs[i][0] for i in chosen]
    logits = dict(zip(chosen, output.segmentation_logits))
    assert len(logits) == len(output.segmentation_logits) == len(chosen)
    for i, (channels, stride) in enumerate(outputs):
        size = tuple(-(-s // stride) for s in SHAPE)
        assert output[i].shape == (2, channels, *size)
        if i in logits:
            assert logits[i].shape == (2, 1, *size)
            torch.testing.assert_close(output[i], plain[i] / (1 + torch.exp(-logits[i])))
        else:
            assert torch.equal(output[i], plain[i])

    assert model.train() is model
    sum(features.square().sum() for features in model(x)).backward()
    for parameter in model.guides.parameters():
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", BACKBONES)
def test_twins_share_every_tensor(name):
    """With one seed a wrapped network has the tensors of the plain one, and the same luck after."""
    arguments, indices, outputs = BACKBONES[name]
    backbone = dict(type=name, **arguments)
    neck = dict(type="FPN", in_channels=[c for c, _ in outputs], out_channels=6, num_outs=4)
    head = dict(in_channels=6, out_channels=17, deconv_out_channels=(4,), deconv_kernel_sizes=(4,))

    def estimator(backbone, neck, head_type):
        torch.manual_seed(3)
        model = MODELS.build(
            dict(
                type="TopdownPoseEstimator",
                backbone=copy.deepcopy(backbone),
                neck=copy.deepcopy(neck),
                head=dict(head, type=head_type),
            )
        )
        built = copy.deepcopy(model.state_dict())
        model.init_weights()
        return built, model.state_dict(), torch.rand(1)

    plain = estimator(backbone, neck, "HeatmapHead")
    ours = estimator(
        guided(backbone, guide_indices=indices), dict(type="GuidedNeck", neck=neck), "SGHeatmapHead"
    )
    for wrapped, bare in zip(ours[:2], plain[:2]):
        for key, value in bare.items():
            renamed = f"neck.{key}" if key.startswith("neck.") else key
            assert torch.equal(wrapped[renamed], value), key
        extra = len(wrapped) - len(bare)
        assert extra == sum("guides" in k or "loss_weighting" in k for k in wrapped)
    assert torch.equal(ours[2], plain[2]), "the random state differs after building"


class Odd(BaseModule):
    """A backbone whose outputs, given by a function of the image, are whatever a test needs."""

    def __init__(self, outputs, init_cfg=None):
        super().__init__(init_cfg)
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.BatchNorm2d(4).eval()
        self.dropout = nn.Dropout()
        self.outputs = outputs
        self.calls = []

    def forward(self, x):
        self.calls.append(tuple(x.shape))
        torch.rand(1)
        return self.outputs(self.dropout(self.frozen(self.norm(self.conv(x)))))

    def init_weights(self):
        self.calls.append("init")
        super().init_weights()


@pytest.fixture(autouse=True)
def odd_backbone():
    MODELS.register_module(module=Odd, force=True)
    yield
    MODELS._module_dict.pop("Odd")


def odd(outputs, **kwargs):
    return guided(dict(type="Odd", outputs=outputs), **kwargs)


def test_finding_the_channels_leaves_no_trace():
    torch.manual_seed(4)
    plain = Odd(lambda x: x)
    after = torch.rand(1)
    torch.manual_seed(4)
    model = MODELS.build(odd(lambda x: x))
    assert torch.equal(torch.rand(1), after)
    for key, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    assert model.training and model.norm.training and not model.frozen.training
    assert model.calls == []


def test_a_single_tensor_becomes_a_tuple():
    output = MODELS.build(odd(lambda x: x))(image())
    assert isinstance(output, GuidedFeatures) and len(output) == 1
    assert output[0].shape == (2, 4, 32, 16)
    assert len(output.segmentation_logits) == 1


def test_inner_backbone_is_initialised_once_with_its_own_init_cfg():
    constant = dict(type="Constant", layer="Conv2d", val=0.25, bias=0.5)
    model = MODELS.build(guided(dict(type="Odd", outputs=lambda x: x, init_cfg=constant)))
    guides = copy.deepcopy(model.guides.state_dict())
    model.init_weights()
    assert model.calls == ["init"]
    assert model.conv.weight.eq(0.25).all() and model.conv.bias.eq(0.5).all()
    for key, value in model.guides.state_dict().items():
        assert torch.equal(value, guides[key])


@pytest.mark.parametrize("op", ["residual", "none"])
def test_guide_options_are_those_of_sghrnet(op):
    model = build(guided(RESNET, guide_op=op, guide_init_bias=-2.0, detach_guide=True))
    assert model.guides["1"].proj.bias.item() == -2.0
    model.eval()
    x = image()
    with torch.no_grad():
        plain, output = plain_outputs(model, x)[1], model(x)
    s = output.segmentation_logits[0].sigmoid()
    torch.testing.assert_close(output[1], plain * (1 + s) if op == "residual" else plain)
    model(x)[1].sum().backward()
    assert all(p.grad is None for p in model.guides.parameters())


def pretrained(path):
    return dict(type="Pretrained", checkpoint=str(path))


def test_checkpoint_of_the_plain_backbone_loads(tmp_path):
    plain = build(RESNET, seed=5)
    torch.save(dict(state_dict=plain.state_dict()), tmp_path / "plain.pth")
    through_inner = build(guided(dict(RESNET, init_cfg=pretrained(tmp_path / "plain.pth"))))
    through_wrapper = build(guided(RESNET, init_cfg=pretrained(tmp_path / "plain.pth")))
    loaded = build(guided(RESNET))
    result = loaded.load_state_dict(plain.state_dict(), strict=False)
    assert all(k.startswith("guides.1.") for k in result.missing_keys)
    assert len(result.missing_keys) == 4 and not result.unexpected_keys
    for model in (through_inner, through_wrapper, loaded):
        for key, value in plain.state_dict().items():
            assert torch.equal(model.state_dict()[key], value), key


def estimator(backbone, neck, head_type, seed=0, **kwargs):
    codec = dict(type="MSRAHeatmap", input_size=(32, 64), heatmap_size=(4, 8), sigma=2)
    head = dict(type=head_type, in_channels=6, out_channels=3, decoder=codec)
    return build(
        dict(
            type="TopdownPoseEstimator",
            backbone=backbone,
            neck=neck,
            head=dict(head, deconv_out_channels=None),
            **kwargs,
        ),
        seed,
    )


FPN = dict(type="FPN", in_channels=[8, 16], out_channels=6, num_outs=2)


def guided_estimator(**kwargs):
    neck = dict(type="GuidedNeck", neck=FPN)
    return estimator(guided(RESNET, guide_indices=(0, 1)), neck, "SGHeatmapHead", **kwargs)


def test_checkpoint_of_the_plain_estimator_loads(tmp_path, caplog):
    """As ``load_from`` does it, with MMEngine's own loader, and with PyTorch's."""
    plain = estimator(RESNET, FPN, "HeatmapHead", seed=5)
    torch.save(dict(state_dict=plain.state_dict()), tmp_path / "plain.pth")
    by_mmengine, by_torch = guided_estimator(), guided_estimator()
    load_checkpoint(by_mmengine, str(tmp_path / "plain.pth"), map_location="cpu")
    result = by_torch.load_state_dict(plain.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert {k.split(".")[1] for k in result.missing_keys} == {"guides"}
    for model in (by_mmengine, by_torch):
        state = model.state_dict()
        for key, value in plain.state_dict().items():
            renamed = f"neck.{key}" if key.startswith("neck.") else key
            assert torch.equal(state[renamed], value), key


def test_own_checkpoints_copies_and_pickles_reload(tmp_path):
    model, other = guided_estimator(seed=6), guided_estimator(seed=7)
    state = model.state_dict()
    torch.save(dict(state_dict=state), tmp_path / "own.pth")
    load_checkpoint(other, str(tmp_path / "own.pth"), strict=True)
    copied = copy.deepcopy(guided_estimator(seed=7))
    pickled = pickle.loads(pickle.dumps(guided_estimator(seed=7)))
    for reloaded in (copied, pickled):
        reloaded.load_state_dict(estimator(RESNET, FPN, "HeatmapHead").state_dict(), strict=False)
        reloaded.load_state_dict(state, strict=True)
    for reloaded in (other, copied, pickled):
        for key, value in state.items():
            assert torch.equal(reloaded.state_dict()[key], value), key


def test_a_backbone_with_a_child_called_backbone_loads_both_ways():
    class Nested(BaseModule):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return (self.backbone(x),)

    MODELS.register_module(name="Nested", module=Nested, force=True)
    try:
        model, plain = MODELS.build(guided(dict(type="Nested"))), Nested()
    finally:
        MODELS._module_dict.pop("Nested")
    model.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(model.backbone.weight, plain.backbone.weight)
    saved = {k: v + 1 for k, v in model.state_dict().items()}
    model.load_state_dict(saved)
    assert torch.equal(model.backbone.weight, plain.backbone.weight + 1)
    older = {k if "guides" in k else f"backbone.{k}": v + 1 for k, v in saved.items()}
    model.load_state_dict(older)
    assert torch.equal(model.backbone.weight, plain.backbone.weight + 1 + 1)


def test_keys_of_neither_are_reported():
    state = dict(build(RESNET).state_dict(), fc=torch.zeros(1))
    result = build(guided(RESNET)).load_state_dict(state, strict=False)
    assert result.unexpected_keys == ["fc"]


def test_prediction_through_a_head():
    model = guided_estimator(test_cfg=dict(flip_test=True, output_heatmaps=True)).eval()
    samples = []
    for _ in range(2):
        instances = InstanceData(
            bboxes=torch.tensor([[0.0, 0.0, 32.0, 64.0]]).numpy(), bbox_scores=[1.0]
        )
        sample = PoseDataSample(gt_instances=instances)
        sample.set_metainfo(
            dict(
                flip_indices=[0, 2, 1],
                input_size=(32, 64),
                input_center=torch.tensor([16.0, 32.0]).numpy(),
                input_scale=torch.tensor([32.0, 64.0]).numpy(),
            )
        )
        samples.append(sample)
    with torch.no_grad():
        predictions = model.predict(image(), samples)
    for prediction in predictions:
        assert prediction.pred_instances.keypoints.shape == (1, 3, 2)
        assert prediction.pred_instances.guide_maps.shape == (1, 2, 16, 8)


@pytest.mark.parametrize("indices", [(2,), (-3,), (0, 0), (-1, 1), ()])
def test_indices_that_are_no_outputs_are_refused(indices):
    with pytest.raises(ValueError, match="different ones of the backbone's 2 outputs.*-2 to 1"):
        MODELS.build(guided(RESNET, guide_indices=indices))


@pytest.mark.parametrize(
    "outputs, given",
    [
        (lambda x: x.flatten(2).transpose(1, 2), r"\(1, 8192, 4\)"),
        (lambda x: x.permute(0, 2, 3, 1), r"\(1, 64, 128, 4\)"),
        (lambda x: x.repeat(1, 32, 1, 1).permute(0, 2, 3, 1), r"\(1, 64, 128, 128\)"),
        (lambda x: [[x, x]], "a list"),
    ],
    ids=["tokens", "channel-last", "channel-last of as many channels", "nested"],
)
def test_outputs_that_are_no_feature_maps_are_refused(outputs, given):
    with pytest.raises(ValueError, match=f"output 0 of the backbone is {given} for an image"):
        MODELS.build(odd(outputs))


def test_an_unguided_output_may_be_anything():
    model = MODELS.build(odd(lambda x: (x, x.mean((2, 3))), guide_indices=(0,)))
    assert [tuple(f.shape) for f in model(image())] == [(2, 4, 32, 16), (2, 4)]


def test_images_of_other_channels():
    backbone = dict(type="ResNet", depth=18, in_channels=1, out_indices=(0,))
    output = MODELS.build(guided(backbone))(torch.randn(2, 1, 32, 32))
    assert output[0].shape == (2, 64, 8, 8)


def test_a_backbone_that_does_not_run_is_named():
    def fail(x):
        raise RuntimeError("needs 224 x 224")

    with pytest.raises(ValueError, match=r"Odd cannot be guided.*\(1, 3, 128, 256\).*224 x 224"):
        MODELS.build(odd(fail))


def test_a_guided_backbone_is_not_guided_again(small_extra):
    with pytest.raises(ValueError, match="SGHRNet is guided already"):
        MODELS.build(guided(dict(type="SGHRNet", extra=small_extra)))


def test_a_wrong_operation_is_refused():
    with pytest.raises(ValueError, match="guide_op must be one of"):
        MODELS.build(guided(RESNET, guide_op="add"))


def test_checkpoints_of_the_former_wrapper_load():
    """It held the backbone under one more name."""
    model = guided_estimator(seed=6)
    state = {
        f"backbone.{k}" if k.startswith("backbone.") and ".guides." not in k else k: v
        for k, v in model.state_dict().items()
    }
    assert "backbone.backbone.conv1.weight" in state
    other = guided_estimator(seed=7)
    other.load_state_dict(state, strict=True)
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_a_guided_backbone_is_of_its_own_class_and_keeps_its_methods():
    model = build(guided(dict(RESNET, frozen_stages=1, norm_eval=True)))
    assert type(model).__name__ == "GuidedResNet" and isinstance(model, MODELS.get("ResNet"))
    assert type(build(guided(RESNET))) is type(model), "one class for all of a kind"
    model.train()
    assert not model.bn1.training and not model.conv1.weight.requires_grad
    assert all(p.requires_grad for p in model.guides.parameters())


class NamedLikeViT(BaseModule):
    """The parameters of MMPretrain's ViT in ViTPose-small by name, of few channels."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1, 8))
        self.patch_embed = nn.Module()
        self.patch_embed.projection = nn.Conv2d(3, 8, 16, 16)
        self.layers = nn.ModuleList(self.layer() for _ in range(12))
        self.ln1 = nn.LayerNorm(8)

    @staticmethod
    def layer():
        layer = nn.Module()
        layer.ln1, layer.ln2 = nn.LayerNorm(8), nn.LayerNorm(8)
        layer.attn = nn.ModuleDict(dict(qkv=nn.Linear(8, 24), proj=nn.Linear(8, 8)))
        layer.ffn = nn.ModuleDict(
            dict(layers=nn.Sequential(nn.Sequential(nn.Linear(8, 8)), nn.Linear(8, 8)))
        )
        return layer

    def forward(self, x):
        return (self.patch_embed.projection(x),)


def test_learning_rates_by_layer_find_the_layers_of_vitpose_small():
    """161 parameters, from 0.8^13 = 0.055 at the patches to 1 at guides and head."""
    MODELS.register_module(module=NamedLikeViT, force=True)
    cfg = get_config(VITPOSE)
    head = dict(cfg.model.head, type="SGHeatmapHead", in_channels=8)
    backbone = guided(dict(type="NamedLikeViT"))
    model = MODELS.build(dict(type="TopdownPoseEstimator", backbone=backbone, head=head))
    MODELS._module_dict.pop("NamedLikeViT")
    constructor = LayerDecayOptimWrapperConstructor(
        dict(optimizer=cfg.optim_wrapper.optimizer), cfg.optim_wrapper.paramwise_cfg
    )
    scales = {}
    for group in constructor(model).optimizer.param_groups:
        scales.update(dict.fromkeys(group["param_names"], group["lr_scale"]))
    assert len(scales) == 161
    assert {round(scale, 3) for scale in scales.values()} >= {0.055, 1.0}
    for name, scale in scales.items():
        if name.startswith("backbone.layers."):
            assert scale == pytest.approx(0.8 ** (12 - int(name.split(".")[2])))
        elif name.startswith(("backbone.patch_embed", "backbone.pos_embed")):
            assert scale == pytest.approx(0.8**13)
        else:
            assert scale == 1 and name.startswith(("head.", "backbone.guides.", "backbone.ln1."))


def test_custom_keys_find_the_backbones_parameters():
    cfg = dict(optimizer=dict(type="SGD", lr=1.0), type="OptimWrapper")
    paramwise = dict(custom_keys={"backbone.layer1": dict(lr_mult=0.1)})
    model = guided_estimator()
    for group in DefaultOptimWrapperConstructor(cfg, paramwise)(model).optimizer.param_groups:
        (parameter,) = group["params"]
        (name,) = (k for k, v in model.named_parameters() if v is parameter)
        assert group["lr"] == pytest.approx(0.1 if name.startswith("backbone.layer1.") else 1)

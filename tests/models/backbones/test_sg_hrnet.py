# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import copy
import io

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.optim import build_optim_wrapper
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from sgpose.models import GuidedFeatures, SegmentationGuidedModule
from sgpose.models.backbones.sg_hrnet import fuse_branches

OPTIONS = dict(
    guide_source=["stage_input", "branch_output"],
    guide_module=["last", "all"],
    guide_op=["multiply", "residual"],
)


def build(type, extra, seed=0, **kwargs):
    torch.manual_seed(seed)
    model = MODELS.build(dict(type=type, extra=copy.deepcopy(extra), **kwargs))
    model.init_weights()
    return model


def randomise(model):
    """Give every layer a visible effect: HRNet's own initialisation makes features of 1e-9."""
    for name, parameter in model.named_parameters():
        if "guides" not in name:
            torch.nn.init.uniform_(parameter, -0.5, 0.5)


def image(batch=2):
    return torch.randn(batch, 3, 64, 64)


def reference_forward(model, x):
    """Run SG-HRNet with hooks on a plain HRNet's forward, written independently of the class.

    HRNet's own forward runs; a hook on the high-resolution branch of each guided module multiplies
    its output, which is what "guided before the fusion" means.
    """
    logits, handles, source = [], [], {}
    guides = model.guides

    def remember(name):
        return lambda module, args: source.update({name: args[0][0]})

    def act(name):
        def hook(branch, args, output):
            guide = guides[name]
            if model.guide_source == "branch_output":
                logits.append(guide.predict(output))
            elif len(logits) < list(guides).index(name) + 1:
                logits.append(guide.predict(source[name]))
            s = torch.sigmoid(logits[-1])
            return s * output if guide.op == "multiply" else output + s * output

        return hook

    for stage in (2, 3, 4):
        name = f"stage{stage}"
        if name not in guides:
            continue
        modules = getattr(model, name)
        handles.append(modules.register_forward_pre_hook(remember(name)))
        acting = {"last": modules[-1:], "all": modules}[model.guide_module]
        handles += [m.branches[0].register_forward_hook(act(name)) for m in acting]
    features = list(super(type(model), model).forward(x))
    for handle in handles:
        handle.remove()
    if "out" in guides:
        logits.append(guides["out"].predict(features[0]))
        s = torch.sigmoid(logits[-1])
        features[0] = features[0] * s + (features[0] if guides["out"].op == "residual" else 0)
    return features, logits


@pytest.mark.parametrize("source", OPTIONS["guide_source"])
@pytest.mark.parametrize("module", OPTIONS["guide_module"])
@pytest.mark.parametrize("op", OPTIONS["guide_op"])
def test_forward_equals_the_hooked_hrnet(small_extra, source, module, op):
    model = build(
        "SGHRNet", small_extra, guide_source=source, guide_module=module, guide_op=op
    ).eval()
    randomise(model)
    x = image()
    with torch.no_grad():
        output = model(x)
        features, logits = reference_forward(model, x)
    assert isinstance(output, GuidedFeatures)
    torch.testing.assert_close(list(output), features)
    assert len(output.segmentation_logits) == len(logits)
    torch.testing.assert_close(list(output.segmentation_logits), logits)
    assert output[0].abs().max() > 1e-3
    # stages 2, 3 and 4 have 1, 2 and 2 modules
    per_module = source == "branch_output" and module == "all"
    assert len(logits) == (5 if per_module else 3) + 1


def test_twins_share_every_tensor_of_hrnet_and_head(small_extra):
    def estimator(backbone, head):
        cfg = dict(
            type="TopdownPoseEstimator",
            backbone=dict(type=backbone, extra=copy.deepcopy(small_extra)),
            head=dict(
                type=head,
                in_channels=8,
                out_channels=17,
                deconv_out_channels=(6,),
                deconv_kernel_sizes=(4,),
            ),
        )
        torch.manual_seed(3)
        model = MODELS.build(cfg)
        built = copy.deepcopy(model.state_dict())
        model.init_weights()
        return built, model.state_dict(), torch.rand(1)

    plain, guided = estimator("HRNet", "HeatmapHead"), estimator("SGHRNet", "SGHeatmapHead")
    for ours, theirs in zip(guided[:2], plain[:2]):
        extra_keys = set(ours) - set(theirs)
        assert set(theirs) <= set(ours)
        assert {k.split(".")[1] for k in extra_keys} == {"guides", "loss_weighting"}
        for key, value in theirs.items():
            assert torch.equal(ours[key], value), key
    assert torch.equal(plain[2], guided[2]), "the random state differs after building"


def test_settings_for_biases_reach_the_guides(small_extra):
    model = build("SGHRNet", small_extra)
    optim = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.05),
            paramwise_cfg=dict(bias_decay_mult=0.0),
        ),
    )
    decay = {id(p): g["weight_decay"] for g in optim.param_groups for p in g["params"]}
    for name, parameter in model.guides.named_parameters():
        assert decay[id(parameter)] == (0.0 if name.endswith("bias") else 0.05), name


def test_initialisers_of_the_backbone_leave_the_guides_alone(small_extra):
    model = build("SGHRNet", small_extra, guide_init_bias=-2.0)
    for guide in model.guides.values():
        assert guide.conv.weight.std() > 0.02, "HRNet's initialiser has a deviation of 0.001"
        assert guide.proj.bias.item() == -2.0


@pytest.mark.parametrize("multiscale", [False, True])
def test_guides_forced_to_one_give_hrnet_bit_for_bit(small_extra, multiscale, tmp_path):
    small_extra["stage4"]["multiscale_output"] = multiscale
    hrnet = build("HRNet", small_extra)
    hrnet.eval()
    randomise(hrnet)
    torch.save(hrnet.state_dict(), tmp_path / "hrnet.pth")
    model = build("SGHRNet", small_extra, seed=1)
    load_checkpoint(model, str(tmp_path / "hrnet.pth"))
    model.eval()
    for guide in model.guides.values():
        torch.nn.init.zeros_(guide.proj.weight)
        torch.nn.init.constant_(guide.proj.bias, 100.0)
    x = image()
    with torch.no_grad():
        ours, theirs = model(x), hrnet(x)
    assert len(ours) == len(theirs) == (4 if multiscale else 1)
    assert torch.stack([logits.sigmoid().min() for logits in ours.segmentation_logits]).eq(1).all()
    for a, b in zip(ours, theirs):
        assert torch.equal(a, b)
    assert theirs[0].abs().max() > 1e-3


def test_fusion_equals_hrmodule_bit_for_bit(small_extra):
    model = build("SGHRNet", small_extra).eval()
    randomise(model)
    for stage, branches in ((model.stage2, 2), (model.stage3, 3), (model.stage4, 4)):
        for module in stage:
            x = [torch.randn(1, 8 * (i + 1), 16 >> i, 16 >> i) for i in range(branches)]
            with torch.no_grad():
                outputs = [branch(y) for branch, y in zip(module.branches, x)]
                for ours, theirs in zip(fuse_branches(module, outputs), module(list(x))):
                    assert torch.equal(ours, theirs)


def test_single_branch_module_has_nothing_to_fuse(small_extra):
    x = torch.randn(1, 2, 3, 3)
    module = build("SGHRNet", small_extra).stage2[0]
    module.num_branches = 1
    assert fuse_branches(module, [x])[0] is x


@pytest.mark.parametrize("stages", [(), (2,), (3, "out"), ("out",), (2, 3, 4), ("out", 4, 3, 2)])
def test_only_the_asked_stages_are_guided(small_extra, stages):
    model = build("SGHRNet", small_extra, guide_stages=stages)
    model.eval()
    randomise(model)
    assert len(model.guides) == len(stages)
    x = image()
    with torch.no_grad():
        output = model(x)
        features, logits = reference_forward(model, x)
    assert len(output.segmentation_logits) == len(stages)
    torch.testing.assert_close(list(output), features)
    torch.testing.assert_close(list(output.segmentation_logits), logits)


def test_op_none_supervises_without_guiding(small_extra):
    model = build("SGHRNet", small_extra, guide_op="none")
    hrnet = build("HRNet", small_extra)
    hrnet.eval()
    model.eval()
    x = image()
    with torch.no_grad():
        assert torch.equal(model(x)[0], hrnet(x)[0])
        assert len(model(x).segmentation_logits) == 4


@pytest.mark.parametrize("detach", [False, True])
def test_gradient_of_the_features_reaches_the_guides_unless_detached(small_extra, detach):
    model = build("SGHRNet", small_extra, detach_guide=detach)
    randomise(model)
    model.train()
    model(image())[0].square().sum().backward()
    for name, guide in model.guides.items():
        gradients = [p.grad for p in guide.parameters()]
        if detach:
            assert all(g is None for g in gradients), name
        else:
            assert all(g.abs().sum() > 0 for g in gradients), name


@pytest.mark.parametrize("width", [32, 48])
def test_parameters_of_the_papers_networks(width):
    extra = dict(
        stage1=dict(
            num_modules=1, num_branches=1, block="BOTTLENECK", num_blocks=(4,), num_channels=(64,)
        ),
        **{
            f"stage{i}": dict(
                num_modules=modules,
                num_branches=i,
                block="BASIC",
                num_blocks=(4,) * i,
                num_channels=tuple(width * 2**j for j in range(i)),
            )
            for i, modules in ((2, 1), (3, 4), (4, 3))
        },
    )
    model = MODELS.build(dict(type="SGHRNet", extra=extra))
    hrnet = MODELS.build(dict(type="HRNet", extra=extra))
    count = lambda m: sum(p.numel() for p in m.parameters())  # noqa: E731
    assert count(model) - count(hrnet) == 4 * (9 * width**2 + 2 * width + 1)
    assert [len(g.conv.weight) for g in model.guides.values()] == [width] * 4


@pytest.mark.parametrize("fold", [False, True])
def test_flops_of_the_guides(small_extra, fold):
    """One 3x3 kernel with one output per guide, counted by MMEngine, and nothing else."""

    def flops(type):
        model = build(type, small_extra)
        model.eval()
        if type == "SGHRNet" and fold:
            for guide in model.guides.values():
                guide.fold()
        return get_model_complexity_info(model, (3, 64, 64), show_table=False, show_arch=False)

    pixels, channels = 16 * 16, 8
    convolutions = 4 * pixels * channels * 9
    composition = 0 if fold else 4 * (channels * channels * 9 + channels)
    difference = flops("SGHRNet")["flops"] - flops("HRNet")["flops"]
    # the products and the sum behind them, which MMEngine counts in part
    assert convolutions <= difference <= convolutions + composition + 4 * pixels * (channels + 2)


def test_checkpointing_freezing_and_norm_eval_work_as_in_hrnet(small_extra):
    plain = build("SGHRNet", small_extra)
    checkpointed = build("SGHRNet", small_extra, with_cp=True)
    randomise(plain)
    checkpointed.load_state_dict(plain.state_dict())
    x = image()
    for model in (plain, checkpointed):
        model.train()
        model(x.clone().requires_grad_())[0].square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), checkpointed.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)

    model = build("SGHRNet", small_extra, frozen_stages=3, norm_eval=True)
    assert model.train() is model
    assert not any(m.training for m in model.modules() if isinstance(m, _BatchNorm))
    frozen = {n.split(".")[0] for n, p in model.named_parameters() if not p.requires_grad}
    hrnet = build("HRNet", small_extra, frozen_stages=3)
    assert frozen == {n.split(".")[0] for n, p in hrnet.named_parameters() if not p.requires_grad}
    assert all(p.requires_grad for p in model.guides.parameters())


def test_weights_of_hrnet_load_through_init_cfg(small_extra, tmp_path):
    hrnet = build("HRNet", small_extra, seed=5)
    torch.save(dict(state_dict=hrnet.state_dict()), tmp_path / "hrnet.pth")
    pretrained = dict(type="Pretrained", checkpoint=str(tmp_path / "hrnet.pth"))
    model = build("SGHRNet", small_extra, init_cfg=pretrained)
    state = model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in hrnet.state_dict().items())
    assert isinstance(model.guides["out"], SegmentationGuidedModule)
    assert model.guides["out"].conv.weight.std() > 0.02


def test_a_copy_predicts_the_same(small_extra):
    model = build("SGHRNet", small_extra).eval()
    x = image(1)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(x)[0], model(x)[0])


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(guide_stages=(1, 2)), "guide_stages must be different ones of"),
        (dict(guide_stages=(2, 2)), "guide_stages must be different ones of"),
        (dict(guide_stages=("stage2",)), "guide_stages must be different ones of"),
        (dict(guide_source="input"), "guide_source must be one of"),
        (dict(guide_module="middle"), "guide_module must be one of"),
        (dict(guide_op="add"), "guide_op must be one of"),
    ],
)
def test_unknown_options(small_extra, kwargs, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type="SGHRNet", extra=small_extra, **kwargs))


@pytest.mark.parametrize(
    "arguments",
    [
        dict(depth=50),
        dict(extra=dict(stage1=dict(block="HRFORMERBLOCK"))),
        dict(extra=dict(stem=dict(stem_channels=32), num_stages=3, stages_spec=dict())),
    ],
    ids=["ResNet", "HRFormer", "LiteHRNet"],
)
def test_arguments_of_another_backbone_lead_to_sg_backbone(arguments):
    with pytest.raises(ValueError, match="stage1 to stage4 .*type='SGBackbone'"):
        MODELS.build(dict(type="SGHRNet", **arguments))


def test_an_unfolded_model_is_traced_and_exported_with_gradients_on(small_extra):
    model, x = build("SGHRNet", small_extra).eval(), torch.randn(1, 3, 64, 64)
    traced = torch.jit.trace(FirstMap(model), x, check_trace=False)
    torch.testing.assert_close(traced(x), model(x)[0])
    file = io.BytesIO()
    torch.onnx.export(FirstMap(model), x, file, opset_version=13)
    assert file.tell() > 0


class FirstMap(torch.nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        return self.backbone(x)[0]

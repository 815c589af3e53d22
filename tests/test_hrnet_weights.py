# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""HRNet's published checkpoints, imitated key by key, start SG-HRNet."""

import copy
import logging
import runpy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS
from torch import nn

shrink = runpy.run_path(str(Path(__file__).parents[1] / "tools/shrink_checkpoint.py"))[
    "shrink_checkpoint"
]

COCO = Path(__file__).parents[1] / "configs" / "sg_hrnet" / "coco"
PRESET = COCO / "td-hm_sghrnet-w32_residual-8xb64-20e_coco-256x192.py"


@pytest.fixture
def log(monkeypatch):
    """Return a function that returns what was logged so far."""
    logger = MMLogger.get_current_instance()
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield lambda: "\n".join(lines)
    logger.setLevel(level)
    logger.removeHandler(handler)


def backbone(type: str, extra: dict, **kwargs) -> nn.Module:
    return MODELS.build(dict(type=type, in_channels=3, extra=extra, **kwargs))


def pose_estimator(backbone_type: str, head_type: str, extra: dict, **backbone) -> nn.Module:
    codec = dict(type="MSRAHeatmap", input_size=(48, 64), heatmap_size=(12, 16), sigma=2)
    return MODELS.build(
        dict(
            type="TopdownPoseEstimator",
            backbone=dict(type=backbone_type, in_channels=3, extra=extra, **backbone),
            head=dict(
                type=head_type,
                in_channels=extra["stage2"]["num_channels"][0],
                out_channels=17,
                deconv_out_channels=None,
                decoder=codec,
            ),
        )
    )


def random_weights(module: nn.Module) -> dict:
    """Return a state dict with the module's keys, without metadata, and values all its own."""
    return {
        k: torch.randn(v.shape) if v.is_floating_point() else v
        for k, v in module.state_dict().items()
    }


def imagenet_file(extra: dict, path: Path) -> dict:
    """Write what a published ImageNet HRNet holds; return the weights of the backbone."""
    extra = copy.deepcopy(extra)
    extra["stage4"]["multiscale_output"] = True  # classification reads all branches
    weights = random_weights(backbone("HRNet", extra))
    channels = extra["stage4"]["num_channels"]
    for i, c in enumerate(channels):
        weights[f"incre_modules.{i}.0.conv1.weight"] = torch.randn(c, c, 1, 1)
    for i, (c, d) in enumerate(zip(channels, channels[1:])):
        weights[f"downsamp_modules.{i}.0.weight"] = torch.randn(d, c, 3, 3)
    weights["final_layer.0.weight"] = torch.randn(64, channels[-1], 1, 1)
    weights["classifier.weight"] = torch.randn(1000, 64)
    weights["classifier.bias"] = torch.randn(1000)
    torch.save(weights, path)
    return weights


def test_imagenet_weights_start_everything_but_the_guides(small_extra, tmp_path, log):
    weights = imagenet_file(small_extra, tmp_path / "hrnet.pth")
    model = backbone(
        "SGHRNet",
        small_extra,
        init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "hrnet.pth")),
    )
    fresh = {k: v.clone() for k, v in model.state_dict().items() if k.startswith("guides.")}
    model.init_weights()
    loaded = model.state_dict()
    for key, value in loaded.items():
        assert torch.equal(value, fresh[key] if key in fresh else weights[key]), key
    missing = next(line for line in log().splitlines() if line.startswith("missing keys"))
    assert missing.count("guides.") == len(fresh) == missing.count(",") + 1 == 16
    assert "without guides, which start fresh" in log()


@pytest.mark.parametrize("old", [False, True], ids=["1.x", "0.x"])
def test_a_pose_estimator_of_the_zoo_starts_everything_but_the_guides(
    small_extra, tmp_path, log, old
):
    weights = random_weights(pose_estimator("HRNet", "HeatmapHead", small_extra))
    saved = {k.replace("head.", "keypoint_head.", 1) if old else k: v for k, v in weights.items()}
    assert any(k.startswith("keypoint_head.final_layer") for k in saved) == old
    torch.save(dict(state_dict=saved, meta={}), tmp_path / "zoo.pth")
    model = pose_estimator("SGHRNet", "SGHeatmapHead", small_extra)
    load_checkpoint(model, str(tmp_path / "zoo.pth"), logger="current")
    loaded = model.state_dict()
    new = loaded.keys() - weights.keys()
    assert {k.split(".")[1] for k in new} == {"guides", "loss_weighting"}
    assert all(torch.equal(loaded[k], v) for k, v in weights.items())
    assert "unexpected" not in log() and "mismatch" not in log()
    assert "without guides, which start fresh" in log()


def test_weights_of_a_shallower_network_are_reported(small_extra, tmp_path, log):
    deeper = copy.deepcopy(small_extra)
    deeper["stage2"]["num_blocks"] = (2, 1)
    torch.save(backbone("HRNet", small_extra).state_dict(), tmp_path / "shallow.pth")
    load_checkpoint(backbone("SGHRNet", deeper), str(tmp_path / "shallow.pth"), logger="current")
    # two convolutions and two norms of four tensors each
    assert "10 of " in log() and "stage2.0.branches.0.1.conv1.weight the first" in log()
    assert "are expected" not in log()


def test_what_was_trained_with_guides_loads_without_a_word(small_extra, tmp_path, log):
    torch.save(backbone("SGHRNet", small_extra).state_dict(), tmp_path / "own.pth")
    load_checkpoint(backbone("SGHRNet", small_extra), str(tmp_path / "own.pth"), logger="current")
    assert "guides" not in log() and "missing" not in log()


def test_a_file_made_for_inference_loads_without_a_word(small_extra, tmp_path, log):
    model = pose_estimator("SGHRNet", "SGHeatmapHead", small_extra)
    torch.save(shrink(dict(state_dict=model.state_dict())), tmp_path / "small.pth")
    fresh = pose_estimator("SGHRNet", "SGHeatmapHead", small_extra)
    load_checkpoint(fresh, str(tmp_path / "small.pth"), logger="current")
    assert "missing" not in log() and "expected" not in log()


def test_a_part_of_a_model_is_loaded_as_pytorch_does(small_extra):
    model = pose_estimator("SGHRNet", "SGHeatmapHead", small_extra)
    head = {k: v + 1 for k, v in model.state_dict().items() if k == "head.final_layer.bias"}
    result = model.load_state_dict(head, strict=False)
    assert model.head.final_layer.bias.eq(head["head.final_layer.bias"]).all()
    assert "backbone.conv1.weight" in result.missing_keys
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(head)


def test_weights_of_another_width_are_refused(small_extra, tmp_path):
    wide = copy.deepcopy(small_extra)
    for stage in ("stage2", "stage3", "stage4"):
        wide[stage]["num_channels"] = [2 * c for c in wide[stage]["num_channels"]]
    imagenet_file(wide, tmp_path / "wide.pth")
    model = backbone("SGHRNet", small_extra)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"transition1.0.0.weight 16x32x3x3 for 8x32x3x3.*extra"):
        load_checkpoint(model, str(tmp_path / "wide.pth"))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

    torch.save(pose_estimator("HRNet", "HeatmapHead", wide).state_dict(), tmp_path / "zoo.pth")
    with pytest.raises(ValueError, match="another shape"):
        load_checkpoint(
            pose_estimator("SGHRNet", "SGHeatmapHead", small_extra), str(tmp_path / "zoo.pth")
        )


def test_weights_under_other_names_are_refused(small_extra, tmp_path):
    """A bare backbone given as a whole pose estimator, and the reverse."""
    imagenet_file(small_extra, tmp_path / "hrnet.pth")
    with pytest.raises(ValueError, match=r"none of its [1-9]\d+ keys is 'backbone.conv1.*init_cfg"):
        load_checkpoint(
            pose_estimator("SGHRNet", "SGHeatmapHead", small_extra), str(tmp_path / "hrnet.pth")
        )
    whole = pose_estimator("HRNet", "HeatmapHead", small_extra)
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "whole.pth"))
    with pytest.raises(ValueError, match="prefix='backbone.'"):
        backbone("SGHRNet", small_extra, init_cfg=init_cfg).init_weights()
    model = backbone("SGHRNet", small_extra, init_cfg=dict(init_cfg, prefix="backbone."))
    model.init_weights()
    assert torch.equal(model.conv1.weight, whole.backbone.conv1.weight)


def test_another_number_of_keypoints_is_reported_and_the_rest_loads(small_extra, tmp_path, log):
    source = pose_estimator("HRNet", "HeatmapHead", small_extra)
    source.head.final_layer = nn.Conv2d(8, 16, 1)
    torch.save(source.state_dict(), tmp_path / "mpii.pth")
    model = pose_estimator("SGHRNet", "SGHeatmapHead", small_extra)
    load_checkpoint(model, str(tmp_path / "mpii.pth"), logger="current")
    assert "size mismatch for head.final_layer.weight" in log()
    assert torch.equal(model.backbone.conv1.weight, source.backbone.conv1.weight)


def realistic(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """Give an HRNet pose estimator random weights under which its features have unit scale."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics of the images themselves
            nn.init.uniform_(module.weight, 0.1, 0.3)
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        model.train().backbone(images)
    return model.eval()


def test_the_fine_tuning_preset_starts_as_the_hrnet_it_comes_from(tmp_path):
    cfg = Config.fromfile(PRESET)
    plain_cfg = copy.deepcopy(cfg.model)
    plain_cfg.backbone = {k: v for k, v in cfg.model.backbone.items() if "guide" not in k}
    plain_cfg.backbone["type"], plain_cfg.head["type"] = "HRNet", "HeatmapHead"
    del plain_cfg.head["segmentation_loss"], plain_cfg.head["loss_weighting"]
    images = nn.functional.interpolate(torch.randn(2, 3, 16, 12), (128, 96), mode="bilinear")
    plain = realistic(MODELS.build(plain_cfg), images)
    torch.save(dict(state_dict=plain.state_dict(), meta={}), tmp_path / "hrnet.pth")
    guided = MODELS.build(cfg.model)
    guided.init_weights()
    load_checkpoint(guided, str(tmp_path / "hrnet.pth"))
    guided.eval()
    with torch.no_grad():
        features = plain.backbone(images)[0]
        assert 0.5 < features.square().mean().sqrt() < 2
        expected, heatmaps = plain.head((features,)), guided(images, None, mode="tensor")
        span = expected.amax((2, 3)) - expected.amin((2, 3))
        deviation = (heatmaps - expected).abs().amax((2, 3)) / span
    assert 0 < deviation.max() < 1e-2

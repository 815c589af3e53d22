# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Outputs of each public module for fixed weights and inputs, kept in ``goldens.json``.

``python tests/golden_values.py`` writes the file anew: do so where numbers change on purpose, and
say in the commit why they do.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.structures import PoseDataSample
from torch import nn

from sgpose.datasets import toy_sample
from sgpose.models import GuidedFeatures
from sgpose.models.layers import GUIDE_OPS, SegmentationGuidedModule

FILE = Path(__file__).with_name("goldens.json")
GOLDENS: dict[str, Callable[[], dict]] = {}
#: Of an array's values, this many are kept beside its statistics.
NUM_VALUES = 5


def golden(function: Callable[[], dict]) -> Callable[[], dict]:
    GOLDENS[function.__name__] = function
    return function


def compute(name: str) -> dict[str, dict]:
    """Return a summary of each of a golden's arrays.

    Args:
        name: One of ``GOLDENS``.
    """
    init_default_scope("mmpose")
    return {key: summary(value) for key, value in GOLDENS[name]().items()}


def summary(value) -> dict:
    """Return shape, mean, root mean square, a projection and some values of an array.

    The projection is the mean product with fixed random numbers: it notices values that change
    places.
    """
    array = np.asarray(value.detach() if isinstance(value, torch.Tensor) else value, np.float64)
    flat = array.reshape(-1)
    places = np.linspace(0, flat.size - 1, min(NUM_VALUES, flat.size)).astype(int)
    noise = np.random.RandomState(0).standard_normal(flat.size)
    numbers = [flat.mean(), (flat**2).mean() ** 0.5, (flat * noise).mean(), *flat[places]]
    return dict(shape=list(array.shape), numbers=[float(f"{number:.7g}") for number in numbers])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return standard normal float32 numbers that no version of NumPy or PyTorch changes."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


def fill(module: nn.Module, seed: int = 1, last: str = "no such name") -> nn.Module:
    """Set all weights and statistics of a module, in the order of their names; in evaluation.

    Names that begin with ``last`` come last.
    """
    random = np.random.RandomState(seed)
    with torch.no_grad():
        named = [*module.named_parameters(), *module.named_buffers()]
        for name, tensor in sorted(named, key=lambda n: (n[0].startswith(last), n[0])):
            if not tensor.is_floating_point() or "loss_weighting" in name:
                continue
            values = torch.from_numpy(random.standard_normal(tuple(tensor.shape))).float()
            if name.endswith("running_var"):
                values = values.abs() + 0.5
            elif tensor.ndim > 1:
                values /= tensor[0].numel() ** 0.5
            else:
                values = 1 + 0.1 * values if name.endswith("weight") else 0.1 * values
            tensor.copy_(values)
    return module.eval()


def features_and_logits(features: GuidedFeatures) -> dict:
    named = {f"features{i}": x for i, x in enumerate(features)}
    return {**named, **{f"logits{i}": x for i, x in enumerate(features.segmentation_logits)}}


@golden
def segmentation_guided_module() -> dict:
    module, x = fill(SegmentationGuidedModule(6)), noise(2, 6, 7, 5)
    folded = copy.deepcopy(module)
    folded.fold()
    training = module.predict(x)
    training.square().mean().backward()
    with torch.no_grad():
        return dict(
            training=training,
            inference=module.predict(x),
            folded=folded.predict(x),
            conv_gradient=module.conv.weight.grad,
            proj_gradient=module.proj.weight.grad,
        )


@golden
def guide_ops() -> dict:
    features, logits = noise(2, 5, 4, 6), noise(2, 1, 4, 6, seed=1)
    return {op: SegmentationGuidedModule(5, op).gate(features, logits) for op in GUIDE_OPS}


def _stage(branches: int, modules: int, block: str = "BASIC") -> dict:
    return dict(
        num_modules=modules,
        num_branches=branches,
        block=block,
        num_blocks=(1,) * branches,
        num_channels=(4, 6, 8, 10)[:branches],
    )


EXTRA = dict(
    stage1=_stage(1, 1, "BOTTLENECK"),
    stage2=_stage(2, 1),
    stage3=_stage(3, 2),
    stage4=dict(_stage(4, 2), multiscale_output=True),
)


def _sg_hrnet(**options) -> dict:
    model = fill(MODELS.build(dict(type="SGHRNet", extra=EXTRA, **options)))
    with torch.no_grad():
        return features_and_logits(model(noise(1, 3, 64, 96)))


@golden
def sg_hrnet_of_the_paper() -> dict:
    return _sg_hrnet()


@golden
def sg_hrnet_from_the_branch_outputs() -> dict:
    return _sg_hrnet(
        guide_source="branch_output",
        guide_module="all",
        guide_op="residual",
        guide_stages=(3, 4),
    )


@golden
def sg_backbone() -> dict:
    resnet = dict(type="ResNet", depth=50, stem_channels=8, base_channels=8, out_indices=(1, 3))
    model = MODELS.build(dict(type="SGBackbone", backbone=resnet, guide_indices=(0, 1)))
    fill(model, last="guides.")
    with torch.no_grad():
        return features_and_logits(model(noise(1, 3, 64, 32)))


@golden
def guided_neck() -> dict:
    fpn = dict(type="FPN", in_channels=[4, 8], out_channels=6, num_outs=2)
    neck = fill(MODELS.build(dict(type="GuidedNeck", neck=fpn)))
    features = GuidedFeatures([noise(1, 4, 16, 12), noise(1, 8, 8, 6)], [noise(1, 1, 16, 12)])
    return features_and_logits(neck(features))


CODEC = dict(type="MSRAHeatmap", input_size=(48, 64), heatmap_size=(12, 16), sigma=1)
SIMCC = dict(type="SimCCLabel", input_size=(48, 64), sigma=2.0, simcc_split_ratio=2.0)
_SIMCC_HEAD = dict(
    input_size=(48, 64),
    in_featuremap_size=(12, 16),
    simcc_split_ratio=2.0,
    loss=dict(type="KLDiscretLoss", use_target_weight=True),
    decoder=SIMCC,
)
_GAU = dict(hidden_dims=8, s=4, expansion_factor=2, dropout_rate=0.0, drop_path=0.0)
_GAU.update(act_fn="SiLU", use_rel_bias=False, pos_enc=False)


def _head(**cfg) -> dict:
    """Run three steps of loss and a prediction with flip test on made-up features."""
    head = fill(MODELS.build(dict(in_channels=4, out_channels=5, **cfg)))
    head.train()
    codec = KEYPOINT_CODECS.build(
        dict(type="SegmentationTarget", codec=cfg["decoder"], radius=2.5)
        | (dict(mask_size=(12, 16)) if cfg["decoder"] is SIMCC else {})
    )
    values = {}
    for step in range(3):
        losses = head.loss(_features(step), _samples(codec, step))
        values.update({f"{key} {step}": loss for key, loss in losses.items() if key != "acc_pose"})
    head.eval()
    settings = dict(output_heatmaps=True, flip_test=True, shift_heatmap=True, flip_mode="heatmap")
    with torch.no_grad():
        predicted = head.predict([_features(3), _features(4)], _samples(codec, 3), settings)
    for i, instances in enumerate(predicted[0] if isinstance(predicted, tuple) else predicted):
        for key in ("keypoints", "keypoint_scores", "guide_maps"):
            values[f"{key} of {i}"] = instances[key]
    return values


def _features(seed: int) -> GuidedFeatures:
    logits = [noise(2, 1, 16, 12, seed=seed + 10), noise(2, 1, 8, 6, seed=seed + 20)]
    return GuidedFeatures([noise(2, 4, 16, 12, seed=seed)], logits)


def _samples(codec, seed: int) -> list[PoseDataSample]:
    batch = []
    for points in np.random.RandomState(seed).uniform(5, 43, (2, 1, 5, 2)):
        visible = np.array([[1, 1, 0, 1, 1]], np.float32)
        encoded = codec.encode(points.astype(np.float32), visible)
        sample = PoseDataSample(
            metainfo=dict(
                input_size=(48, 64),
                input_center=np.array([30.0, 40.0]),
                input_scale=np.array([60.0, 80.0]),
                flip_indices=[0, 2, 1, 4, 3],
            )
        )
        fields = {key: encoded[key] for key in ("heatmaps", "segmentation") if key in encoded}
        sample.gt_fields = PixelData(**{k: torch.from_numpy(v) for k, v in fields.items()})
        labels = [key for key in encoded if key not in fields]
        sample.gt_instance_labels = InstanceData(**{k: torch.tensor(encoded[k]) for k in labels})
        sample.gt_instances = InstanceData(bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1))
        batch.append(sample)
    return batch


@golden
def sg_heatmap_head() -> dict:
    return _head(type="SGHeatmapHead", deconv_out_channels=None, decoder=CODEC)


@golden
def sg_simcc_head() -> dict:
    return _head(type="SGSimCCHead", deconv_out_channels=None, **_SIMCC_HEAD)


@golden
def sg_rtmcc_head() -> dict:
    return _head(type="SGRTMCCHead", final_layer_kernel_size=3, gau_cfg=_GAU, **_SIMCC_HEAD)


@golden
def segmentation_loss() -> dict:
    logits = [noise(2, 3, 8, 6, seed=i) for i in range(3)]
    target = (noise(2, 3, 8, 6, seed=9) > 0.5).float()
    loss = MODELS.build(dict(type="SegmentationLoss"))
    return dict(loss=loss(logits, target), of_one=loss(logits[:1], target))


@golden
def dynamic_weight_average() -> dict:
    losses = np.random.RandomState(0).uniform(0.5, 4, (12, 2))
    values = {}
    for interval, temperature in ((1, 1.0), (3, 2.0)):
        module = MODELS.build(
            dict(type="DynamicWeightAverage", interval=interval, temperature=temperature)
        )
        weights = []
        for keypoint, segmentation in losses:
            weights.append([float(weight) for weight in module.weights().values()])
            module(dict(keypoint=torch.tensor(keypoint), segmentation=torch.tensor(segmentation)))
        values[f"weights, interval {interval}"] = weights
        values[f"history, interval {interval}"] = module.history
    return values


POINTS = np.random.RandomState(0).uniform(-5, 60, (1, 7, 2)).astype(np.float32)
VISIBLE = np.array([[1, 1, 0, 1, 2, 1, 1]], np.float32)


def _encoded(encoded: dict) -> dict:
    return {key: value for key, value in encoded.items() if isinstance(value, np.ndarray)}


@golden
def segmentation_target_of_keypoints() -> dict:
    codec = KEYPOINT_CODECS.build(dict(type="SegmentationTarget", codec=CODEC, radius=2.5))
    return _encoded(codec.encode(POINTS, VISIBLE))


@golden
def segmentation_target_of_keypoints_with_udp() -> dict:
    udp = dict(CODEC, type="UDPHeatmap")
    codec = KEYPOINT_CODECS.build(dict(type="SegmentationTarget", codec=udp, radius=2.5))
    return _encoded(codec.encode(POINTS, VISIBLE))


@golden
def fast_msra_heatmap() -> dict:
    values = {}
    for unbiased in (False, True):
        codec = KEYPOINT_CODECS.build(dict(CODEC, type="FastMSRAHeatmap", unbiased=unbiased))
        encoded = codec.encode(POINTS, VISIBLE)
        drawn = encoded["heatmaps"][encoded["keypoint_weights"][0] > 0]
        keypoints, scores = codec.decode(drawn)
        encoded.update(keypoints=keypoints, scores=scores)
        values.update({f"{key}, unbiased {unbiased}": x for key, x in encoded.items()})
    return values


@golden
def toy_people() -> dict:
    people = [toy_sample(seed=3, index=index)[1] for index in range(3)]
    return {
        f"{key} of {index}": person[key]
        for index, person in enumerate(people)
        for key in ("keypoints", "bbox")
    }


def main() -> None:
    lines = [
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in compute(name).items())
        + "\n}"
        for name in GOLDENS
    ]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(GOLDENS)} goldens written to {FILE.name}")


if __name__ == "__main__":
    main()

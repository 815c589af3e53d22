# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The two configs, as text: a baseline, and the same with a guide."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .presets import NETWORKS, Preset

#: ``guide_op`` and what it means.
GUIDES = {
    "supervision": (
        "none",
        "auxiliary supervision only: masks are predicted and gate nothing, which costs nothing\n"
        '# once it is folded for deployment. The paper\'s gating: guide_op="multiply".',
    ),
    "gated": (
        "multiply",
        'gating, the paper\'s form. Auxiliary supervision only: guide_op="none".',
    ),
}


@dataclass(frozen=True)
class Split:
    """One split as a config names it, with "/" between folders; ``samples`` persons or objects."""

    ann_file: str
    images: str
    samples: int


def baseline_text(name: str, keypoints: int, preset: Preset, train: Split, val: Split) -> str:
    """The config of plain HRNet.

    Args:
        name: Name of the data set.
        keypoints: Their number.
        preset: What was chosen.
        train: The training split.
        val: The validation split, which is the test split as well.
    """
    network, mirror = NETWORKS[preset.network], preset.flip
    batch, workers = preset.batch_size, preset.num_workers
    bases = [network.base, "sgpose::sg_hrnet/_base_/hooks.py"]
    if not network.whole:
        bases.insert(0, "mmpose::_base_/default_runtime.py")
    fresh = "_delete_=True, " if network.whole else ""
    end, epochs = preset.max_epochs, -(-train.samples // batch)
    milestones = [max(1, round(0.75 * end)), max(2, round(0.92 * end))]
    flip = 'dict(type="RandomFlip", direction="horizontal"),'
    if not preset.flip:
        flip = "# no RandomFlip: which keypoints mirror each other is not known (metainfo.py)"
    start = ""
    if network.pretrained:
        start = "\n# Starts from ImageNet weights. To do without: "
        start += "--cfg-options model.backbone.init_cfg=None"
    calls = [
        _call({k: val.ann_file if k == "ann_file" else v for k, v in metric.items()})
        for metric in preset.evaluators
    ]
    note = ""
    if preset.save_best == "PCK":
        note = (
            "# thr: parts of the box that count as found; take a smaller one where PCK is near 1.\n"
        )
    return f"""\
# {name}: plain HRNet-{preset.network.upper()}. guided.py inherits all of this: change things here.
_base_ = [
{_lines(f'"{base}",' for base in bases)}
]

# Width and height of the network's input. A heatmap is a quarter of it.
codec = dict(type="MSRAHeatmap", input_size={preset.input_size}, sigma=2, unbiased=True)
codec["heatmap_size"] = {preset.heatmap_size}{start}
model = dict(head=dict(out_channels={keypoints}, decoder=codec), test_cfg=dict(flip_test={mirror}))

# {train.samples} samples are {epochs} steps an epoch. Another max_epochs needs other milestones.
train_cfg = dict(max_epochs={end}, val_interval={preset.val_interval})
optim_wrapper = dict(optimizer=dict(type="Adam", lr={preset.lr:.2g}))
param_scheduler = [
    dict(type="LinearLR", begin=0, end={preset.warmup}, start_factor=0.001, by_epoch=False),
    dict(type="MultiStepLR", begin=0, end={end}, milestones={milestones}, gamma=0.1, by_epoch=True),
]
randomness = dict(seed=0)
# The best checkpoint is the one with the highest {preset.save_best}, a metric of val_evaluator.
checkpoint = dict(_base_.safe_hooks.checkpoint, save_best="{preset.save_best}", rule="greater")
default_hooks = dict(_base_.safe_hooks, logger=dict(interval=10), checkpoint=checkpoint)

# Augmentation: mirroring, then shift, scale (a part) and rotation (degrees).
train_pipeline = [
    dict(type="LoadImage"),
    dict(type="GetBBoxCenterScale"),
    {flip}
    dict(type="RandomBBoxTransform", scale_factor=(0.65, 1.35), rotate_factor=60.0),
    dict(type="TopdownAffine", input_size=codec["input_size"]),
    dict(type="GenerateTarget", encoder=codec),
    dict(type="PackPoseInputs"),
]
val_pipeline = [*train_pipeline[:2], train_pipeline[-3], train_pipeline[-1]]

data = dict(
    type="CocoDataset",
    metainfo=dict(from_file="{{{{ fileDirname }}}}/metainfo.py"),
    data_prefix=dict(img={_value(train.images)}),
)
loader = dict(batch_size={batch}, num_workers={workers}, persistent_workers={workers > 0})
train_data = dict(
    data, pipeline=train_pipeline, ann_file={_value(train.ann_file)}
)
train_sampler = dict(type="DefaultSampler", shuffle=True)
train_dataloader = dict(loader, {fresh}sampler=train_sampler, dataset=train_data)
val_data = dict(
    data, pipeline=val_pipeline, test_mode=True, ann_file={_value(val.ann_file)}
)
{_val_prefix(train, val)}val_sampler = dict(type="DefaultSampler", shuffle=False, round_up=False)
val_dataloader = dict(loader, {fresh}sampler=val_sampler, dataset=val_data)
test_dataloader = val_dataloader
{note}val_evaluator = [{", ".join(calls)}]
test_evaluator = val_evaluator
"""


def guided_text(name: str, preset: Preset, guide: str, loss_weight: float | str) -> str:
    """The config of SG-HRNet.

    Args:
        name: Name of the data set.
        preset: What was chosen.
        guide: Key of ``GUIDES``.
        loss_weight: The paper's lambda, or "auto".
    """
    operation, comment = GUIDES[guide]
    return f"""\
# {name}: baseline.py with a guide. The two differ in what is here and in nothing else.
_base_ = ["./baseline.py"]
custom_imports = dict(imports=["sgpose"], allow_failed_imports=False)
visualizer = dict(type="SGLocalVisualizer")

# {comment}
# loss_weight is the paper's lambda, how much the masks' loss counts.
model = dict(
    backbone=dict(type="SGHRNet", guide_op="{operation}"),
    head=dict(
        type="SGHeatmapHead",
        segmentation_loss=dict(type="SegmentationLoss", loss_weight={_value(loss_weight)}),
        loss_weighting=dict(type="DynamicWeightAverage", temperature=1.0, interval=1),
    ),
)

# Radius of the discs around the keypoints, in cells of the {preset.heatmap_size} heatmap.
train_pipeline = _base_.train_pipeline
train_pipeline[-2].encoder = dict(
    type="SegmentationTarget", codec=_base_.codec, radius={preset.radius}
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
"""


def _val_prefix(train: Split, val: Split) -> str:
    if train.images == val.images:
        return ""
    return f"val_data.update(data_prefix=dict(img={_value(val.images)}))\n"


def _lines(lines) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _call(values: dict) -> str:
    return "dict(" + ", ".join(f"{k}={_value(v)}" for k, v in values.items()) + ")"


def _value(value) -> str:
    """Python's text of a value, with double quotes."""
    return json.dumps(value) if isinstance(value, str) else repr(value)

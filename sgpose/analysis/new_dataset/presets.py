# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Network, input, schedule and evaluator for a data set and a machine. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .metainfo import like
from .read import Table

STRIDE, PADDING = 4, 1.25


@dataclass(frozen=True)
class Network:
    """A network of the zoo that configs can inherit.

    Attributes:
        base: What the config inherits.
        lr: Learning rate of Adam for ``batch`` samples a step.
        batch: Samples a step.
        steps: Steps of a training.
        height: Longer side of the input.
        gigabytes: Memory of the GPU that one sample of 256x192 needs in training, about.
        pretrained: Whether the backbone starts from downloaded ImageNet weights.
        whole: Whether the base is a whole config with data sets of its own to be replaced.
    """

    base: str
    lr: float
    batch: int
    steps: int
    height: int
    gigabytes: float
    pretrained: bool
    whole: bool


_COCO = "mmpose::body_2d_keypoint/topdown_heatmap/coco/"
NETWORKS = {
    "w16": Network(
        "sgpose::sg_hrnet/_base_/models/hrnet-w16_128x96.py",
        1e-3,
        32,
        7000,
        128,
        0.04,
        False,
        False,
    ),
    "w32": Network(
        f"{_COCO}td-hm_hrnet-w32_8xb64-210e_coco-256x192.py", 5e-4, 64, 12000, 256, 0.15, True, True
    ),
    "w48": Network(
        f"{_COCO}td-hm_hrnet-w48_8xb32-210e_coco-256x192.py", 5e-4, 64, 12000, 256, 0.22, True, True
    ),
}


@dataclass(frozen=True)
class Machine:
    """What training runs on: GPU memory in gigabytes (0 without a GPU) and CPU cores."""

    gpu: float
    cores: int


@dataclass(frozen=True)
class Preset:
    """All that the configs need to be told, with the reason for each choice.

    Attributes:
        network: Key of ``NETWORKS``.
        input_size: Width and height of the network's input.
        radius: Radius of the mask's discs in cells of the heatmap.
        max_epochs, val_interval, warmup, batch_size, num_workers, lr: The schedule; ``warmup`` in
            steps.
        flip: Whether samples may be mirrored.
        evaluators: Dicts of evaluators; "ann_file" is put in where it is None.
        save_best: The metric that chooses the best checkpoint.
        use_area: Whether COCO's AP takes the annotated areas.
        reasons: One sentence for each choice.
    """

    network: str
    input_size: tuple[int, int]
    radius: float
    max_epochs: int
    val_interval: int
    warmup: int
    batch_size: int
    num_workers: int
    lr: float
    flip: bool
    evaluators: tuple[dict, ...]
    save_best: str
    reasons: tuple[str, ...]

    @property
    def heatmap_size(self) -> tuple[int, int]:
        return self.input_size[0] // STRIDE, self.input_size[1] // STRIDE


def shape_of(boxes: np.ndarray) -> tuple[float, float]:
    """Median width over height, and median longer side in pixels, of N boxes x, y, w, h."""
    sides = boxes[np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1), 2:]
    if not len(sides):
        return 1.0, 256.0
    return float(np.median(sides[:, 0] / sides[:, 1])), float(np.median(sides.max(axis=1)))


def choose_input(aspect: float, longer: int) -> tuple[int, int]:
    """Width and height for a median width over height: 3:4, 1:1 or 4:3."""
    shorter = longer * 3 // 4
    if aspect < 0.85:
        return shorter, longer
    return (longer, shorter) if aspect > 1.18 else (longer, longer)


def spacing(table: Table) -> float:
    """Median distance from a keypoint to its nearest one, in parts of the box's longer side."""
    rows = np.flatnonzero(table.usable & (table.boxes[:, 2:] > 0).all(axis=1))[:2000]
    points = np.where(table.labelled[rows, :, None], table.keypoints[rows, :, :2], np.nan)
    between = np.linalg.norm(points[:, :, None] - points[:, None], axis=3)
    between[:, range(between.shape[1]), range(between.shape[1])] = np.nan
    nearest = np.nanmin(np.where(np.isfinite(between), between, np.inf), axis=2)
    nearest = np.where(np.isfinite(nearest), nearest, np.nan) / table.boxes[rows, 2:].max(
        axis=1, initial=1, keepdims=True
    )
    values = nearest[np.isfinite(nearest)]
    return float(np.median(values)) if len(values) else 0.15


def choose_threshold(apart: float) -> float:
    """PCK's threshold: the next keypoint must not count as this one."""
    return 0.2 if apart > 0.1 else 0.1 if apart > 0.06 else 0.05


def choose_radius(heatmap: tuple[int, int], apart: float) -> float:
    """The paper's 5 cells of 64, and no more than keypoints lie apart; in half cells."""
    cells = max(heatmap) / PADDING
    return max(1.5, round(2 * min(5 * max(heatmap) / 64, apart * cells)) / 2)


def choose_batch(network: Network, pixels: int, samples: int, machine: Machine) -> int:
    """A power of two that the GPU holds, with four steps an epoch or more."""
    batch = network.batch
    if machine.gpu:
        room = 0.7 * machine.gpu / (network.gigabytes * pixels / (256 * 192))
        while batch > 4 and batch > room:
            batch //= 2
    while batch > 2 and batch * 4 > samples:
        batch //= 2
    return max(1, min(batch, samples))


def choose_epochs(network: Network, samples: int, batch: int) -> int:
    """As many as give the network its number of steps, and 20 to 210."""
    epochs = network.steps / max(1, samples / batch)
    return int(np.clip(round(epochs, -1), 20, 210))


def choose_evaluator(
    table: Table, wanted: str = "auto", thr: float = 0.2
) -> tuple[tuple[dict, ...], str, str]:
    """Evaluators, ``save_best`` and why.

    Args:
        table: As it stands in the files; areas that are missing are NaN.
        wanted: "ap", "pck" or "auto".
        thr: PCK's threshold.
    """
    rows = table.usable
    areas = rows.any() and bool((table.area[rows] > 0).all())
    # areas that are the boxes' say nothing of their own; COCO's own keypoints are scored so anyway
    boxes = table.boxes[rows, 2:].prod(axis=1)
    own = areas and not np.allclose(table.area[rows], boxes, rtol=0.02)
    known = like(table.names) if table.named else None
    if wanted == "ap" or (wanted == "auto" and areas and known and (own or known[0] == "coco")):
        whose = f"{known[0]}'s" if known else "equal, so compare only with yourself"
        why = f"COCO's AP: sigmas are {whose}, areas are " + ("annotated" if own else "the boxes'")
        metric = dict(type="CocoMetric", ann_file=None, use_area=areas)
        return (metric,), "coco/AP", why
    missing = (
        "areas are missing or the boxes'"
        if known
        else "there are no known sigmas for these keypoints"
    )
    why = f"PCK at {thr:g} of the box's longer side: {missing}, which COCO's AP needs"
    if wanted == "pck":
        why = f"PCK at {thr:g} of the box's longer side, as asked for"
    _, longer = shape_of(table.boxes[rows])
    auc = dict(type="AUC", norm_factor=max(5, round(0.2 * longer / 5) * 5), num_thrs=20)
    return (dict(type="PCKAccuracy", thr=thr, norm_item="bbox"), auc, dict(type="EPE")), "PCK", why


def choose(
    train: Table,
    flip: bool,
    machine: Machine,
    network: str = "auto",
    input_size: tuple[int, int] | None = None,
    metric: str = "auto",
    epochs: int | None = None,
    batch: int | None = None,
    areas: Table | None = None,
) -> Preset:
    """Choose everything for a data set.

    Args:
        train: Its training annotations, mended.
        flip: Whether samples may be mirrored.
        machine: What it trains on.
        network, input_size, metric, epochs, batch: What the user wants instead.
        areas: The annotations as they stand in the files, whose areas are not filled in.
    """
    samples = int(train.usable.sum())
    aspect, pixels = shape_of(train.boxes[train.usable])
    apart, reasons = spacing(train), []
    if network == "auto":
        network = "w32" if machine.gpu else "w16"
        why = "there is a GPU" if machine.gpu else "it trains on a CPU"
        reasons.append(f"HRNet-{network.upper()}, since {why}; --network chooses another")
    net = NETWORKS[network]
    if input_size is None:
        longer = net.height
        cells = apart * longer / PADDING / STRIDE
        if longer == 128 and cells < 1.5 and pixels > 160:
            longer = 256
            reasons.append(f"256 pixels: at 128, keypoints lie {cells:.1f} cells apart")
        if longer == 256 and pixels < 80 and cells > 4:
            longer = 128
            reasons.append(f"128 pixels: the objects are only {pixels:.0f} pixels long")
        input_size = choose_input(aspect, longer)
        form = (
            "square"
            if input_size[0] == input_size[1]
            else ("portrait" if input_size[0] < input_size[1] else "landscape")
        )
        reasons.append(
            f"input {input_size[0]}x{input_size[1]} (width x height), {form}: half of the boxes "
            f"are narrower than {aspect:.2f} of their height; --input chooses another"
        )
    heatmap = (input_size[0] // STRIDE, input_size[1] // STRIDE)
    if batch is None:
        batch = choose_batch(net, input_size[0] * input_size[1], samples, machine)
    steps = -(-samples // batch)
    if epochs is None:
        epochs = choose_epochs(net, samples, batch)
    reasons.append(f"{epochs} epochs of {steps} steps with {batch} samples")
    radius = choose_radius(heatmap, apart)
    reasons.append(
        f"mask radius {radius:g} of {heatmap[0]}x{heatmap[1]} cells: the paper's 5 of 64 in "
        f"proportion, at most the distance between neighbours ({apart:.2f} of the box)"
    )
    evaluators, save_best, why = choose_evaluator(areas or train, metric, choose_threshold(apart))
    reasons.append(why)
    return Preset(
        network=network,
        input_size=input_size,
        radius=radius,
        max_epochs=epochs,
        val_interval=max(1, min(5, epochs // 10)),
        warmup=min(500, max(1, steps * epochs // 20)),
        batch_size=batch,
        num_workers=max(0, min(4, machine.cores - 1)),
        lr=net.lr * min(1.0, batch / net.batch) ** 0.5,
        flip=flip,
        evaluators=evaluators,
        save_best=save_best,
        reasons=tuple(reasons),
    )
